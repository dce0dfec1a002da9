/** What `/info` says of networks, the way out and proxies. */
import { DEFAULT_EGRESS, DEFAULT_NETWORK, type VchConfig } from '../../../port-layer/config.js';
import type { HostInfo } from '../../../port-layer/index.js';
import { bitRateText } from '../../../src/common/bit-rate.js';
import { maskedProxy, proxySettings } from '../../../src/common/proxies.js';

type Sources = Pick<VchConfig, 'networks' | 'egress' | 'egressRate' | 'hostPorts' | 'allowNetworkCreate'>;

/** Rows of `DriverStatus`. */
export function networkStatus(config: Sources, host: Pick<HostInfo, 'api'>): [string, string][] {
  const { networks, egress = DEFAULT_EGRESS, egressRate, hostPorts = [] } = config;
  const shared = networks[0].portGroup;
  const own = host.api !== 'VirtualCenter' || config.allowNetworkCreate === true;
  return [
    ...networks.map(({ name, portGroup, subnet }): [string, string] => [
      name === DEFAULT_NETWORK ? 'Bridge network' : `Network ${name}`,
      `${portGroup} ${subnet}`,
    ]),
    ['New networks', own ? 'have a port group each' : `share the port group ${shared}; only policy separates them`],
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
