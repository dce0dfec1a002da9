/** What HostNetworkSystem and HostSystem.config tell of the network. There is one virtual switch. */
import { hostname } from 'node:os';
import { REJECT_ALL, type SecurityPolicy } from '../../switch/security-policy.js';

/** The name of the virtual switch. */
export const SWITCH = 'vSwitch0';

/** HostNetworkInfo: one virtual switch with the port groups. */
export function hostNetwork(portGroups: ReadonlyMap<string, SecurityPolicy>): object {
  const names = [...portGroups.keys()];
  const policyOf = (name: string): object => ({ security: { ...(portGroups.get(name) ?? REJECT_ALL) } });
  const policy = policyOf('');
  const key = (name: string): string => `key-vim.host.PortGroup-${name}`;
  return {
    vswitch: [
      {
        name: SWITCH,
        key: `key-vim.host.VirtualSwitch-${SWITCH}`,
        numPorts: 1024,
        numPortsAvailable: 1024,
        mtu: 1500,
        portgroup: names.map(key),
        pnic: [],
        spec: { numPorts: 1024, policy, mtu: 1500 },
      },
    ],
    proxySwitch: [],
    portgroup: [...portGroups.keys()].map((name) => ({
      key: key(name),
      vswitch: `key-vim.host.VirtualSwitch-${SWITCH}`,
      computedPolicy: policyOf(name),
      spec: { name, vlanId: 0, vswitchName: SWITCH, policy: policyOf(name) },
    })),
    pnic: [],
    vnic: [],
    consoleVnic: [],
    dhcp: [],
    nat: [],
    rdmaDevice: [],
    netStackInstance: [],
    opaqueSwitch: [],
    opaqueNetwork: [],
    ipV6Enabled: false,
    dnsConfig: hostDns(),
    ipRouteConfig: hostRoutes(),
    atBootIpV6Enabled: false,
  };
}

/** HostDnsConfig. */
export function hostDns(): object {
  const [hostName = '', ...domain] = hostname().split('.');
  return { $type: 'HostDnsConfig', dhcp: false, hostName, domainName: domain.join('.'), address: [], searchDomain: [] };
}

/** HostIpRouteConfig. */
export function hostRoutes(): object {
  return { $type: 'HostIpRouteConfig' };
}
