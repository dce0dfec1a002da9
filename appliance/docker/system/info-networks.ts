/** What `/info` says of networks, the way out and proxies. */
import { DEFAULT_EGRESS, DEFAULT_NETWORK, type VchConfig } from '../../../port-layer/config.js';
import { bitRateText } from '../../../src/common/bit-rate.js';
import { maskedProxy, proxySettings } from '../../../src/common/proxies.js';

type Sources = Pick<
  VchConfig,
  'networks' | 'egress' | 'egressRate' | 'hostPorts' | 'allowNetworkCreate' | 'networkVlans'
>;

/** Rows of `DriverStatus`. @param ownHost whether this engine is the gateway of the networks, and its host their switch */
export function networkStatus(config: Sources, ownHost: boolean): [string, string][] {
  const { networks, egress = DEFAULT_EGRESS, egressRate, hostPorts = [] } = config;
  const listed = networks.map(({ name, portGroup, subnet }): [string, string] => [
    name === DEFAULT_NETWORK ? 'Bridge network' : `Network ${name}`,
    `${portGroup} ${subnet}`,
  ]);
  if (!ownHost) return [...listed, ...elsewhere(config)];
  return [
    ...listed,
    ['New networks', 'have a port group each'],
    ['Egress', egress === 'relay' ? 'relay: what this machine reaches' : 'none'],
    ...(egressRate === undefined
      ? []
      : [
          ['Egress rate', `${bitRateText(egressRate)} for each container, unless its network says otherwise`] as [
            string,
            string,
          ],
        ]),
    ...(hostPorts.length === 0
      ? []
      : [['Ports of the machine that containers reach', ranges(hostPorts)] as [string, string]]),
  ];
}

const FILTERS = "packet filters in the containers' own machines keep them apart";

/** On a vCenter or an ESXi host. */
function elsewhere({ networks, egress, allowNetworkCreate, networkVlans }: Sources): [string, string][] {
  const [{ portGroup }] = networks;
  const vlans = networkVlans === undefined ? '' : ` of ${networkVlans.first}-${networkVlans.last}`;
  const own =
    vlans === ''
      ? `have a port group each, in the VLAN of ${portGroup}; ${FILTERS}`
      : `have a port group and a VLAN${vlans} each`;
  return [
    ['New networks', allowNetworkCreate === true ? own : `share the port group ${portGroup}; ${FILTERS}`],
    ['Egress', egress === 'none' ? 'none' : 'up to the gateway of each network, which this engine is not'],
    ['Names of containers', 'not served on this host'],
    ['Published ports', 'on networks where this endpoint has an address'],
    ['Policies', 'not enforced on this host'],
  ];
}

/** `8080,9000-9010`. @param ports in ascending order */
export function ranges(ports: readonly number[]): string {
  const parts: [first: number, last: number][] = [];
  for (const port of ports) {
    const before = parts.at(-1);
    if (before !== undefined && before[1] === port - 1) before[1] = port;
    else parts.push([port, port]);
  }
  return parts.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',');
}

/** As in Docker, the pools are shown only if somebody has chosen them. */
export function addressPoolsView({ addressPools }: Pick<VchConfig, 'addressPools'>): object {
  return addressPools === undefined
    ? {}
    : { DefaultAddressPools: addressPools.map(({ base, size }) => ({ Base: base, Size: size })) };
}

/** Without the passwords of proxies. */
export function proxiesView(config: Pick<VchConfig, 'proxies'>): object {
  const { http, https, no } = proxySettings(config.proxies);
  return { HttpProxy: maskedProxy(http), HttpsProxy: maskedProxy(https), NoProxy: no ?? '' };
}
