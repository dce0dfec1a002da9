/**
 * The containers' gateway: listens on the machine for the ports that containers publish, carries what they send to the world outside, and
 * follows the networks. It knows only addresses, ports and cards; which container wants what is up to the caller.
 */
export type { AddressPort } from '../../src/porter/address-port.js';
export type { NamesAnswer, NamesChange, NamesContainer, NamesNetwork } from '../../src/porter/names-table.js';
export { type Gateway, type NamesObserver, OwnGateway, PorterGateway, porterChannel } from './gateway.js';
export { GatewayNetworks, gatewayNetworks, nameServers } from './gateway-networks.js';
export { MachineResolvers } from './machine-resolvers.js';
export { counter, PortMapper, type PortRequest, type PublishedPort, wantedPorts } from './published-ports.js';
