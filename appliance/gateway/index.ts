/**
 * Published ports: listens on the machine for the ports that containers publish, and carries their traffic to the containers' network. It
 * knows only addresses and ports; which container wants which port is up to the caller.
 */
export { type Gateway, gatewayNetworks, OwnGateway, PorterGateway, porterChannel } from './gateway.js';
export { PortMapper, type PublishedPort, wantedPorts } from './published-ports.js';
