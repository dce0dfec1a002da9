import { expect, it } from 'vitest';
import { cardSettings, programSpec, serversOf } from '../../../port-layer/exec/program-spec.js';
import { addressesValue } from '../../../port-layer/exec/vm-spec.js';
import { mainEndpoint, wholeEndpoint } from '../../../port-layer/network/endpoints.js';
import { awaitsLease, parseLeases, withLeases } from '../../../port-layer/network/leases.js';
import type { NetworkEndpoint } from '../../../port-layer/network/types.js';

const MAC = '00:0c:29:00:00:01';
const external = { trust: 'published' as const, peers: ['lease'], dhcp: true };
const asking = wholeEndpoint({ network: 'lan', mac: MAC, nameServers: ['dhcp'], external });
const bridge = wholeEndpoint({
  network: 'nat',
  mac: '00:0c:29:00:00:02',
  address: '172.16.0.2',
  gateway: '172.16.0.1',
});
const LEASE = { address: '10.9.0.5', prefixLength: 24, gateway: '10.9.0.1' };

it.each<[text: string | undefined, leases: object]>([
  [undefined, {}],
  ['', {}],
  [`${MAC}=10.9.0.5/24,10.9.0.1`, { [MAC]: LEASE }],
  [
    `${MAC.toUpperCase()}=10.9.0.5/24,;00:0c:29:00:00:09=`,
    {
      [MAC]: { ...LEASE, gateway: '' },
      '00:0c:29:00:00:09': { address: '', prefixLength: 0, gateway: '' },
    },
  ],
  [`${MAC}=10.9.0.500/24,10.9.0.1`, { [MAC]: { address: '', prefixLength: 0, gateway: '' } }],
  [`${MAC}=10.9.0.5/0,10.9.0.1`, { [MAC]: { address: '', prefixLength: 0, gateway: '' } }],
  [`${MAC}=10.9.0.5/24,300.9.0.1`, { [MAC]: { ...LEASE, gateway: '' } }],
  [`${MAC}=10.9.0.5/24,10.9.0.1,more;x=1;=`, {}],
])('%j', (text, leases) => {
  expect(Object.fromEntries(parseLeases(text))).toEqual(leases);
});

it('an endpoint has what its card was given, and loses it; others are none of the guest’s business', () => {
  const endpoints: NetworkEndpoint[] = [bridge, asking];
  const leases = parseLeases(`${MAC}=10.9.0.5/24,10.9.0.1;${bridge.mac}=10.9.0.6/24,`);
  const given = withLeases(endpoints, leases);
  expect(given).toEqual([bridge, { ...asking, ...LEASE }]);
  expect(endpoints.map(awaitsLease)).toEqual([false, true]);
  expect(given.map(awaitsLease)).toEqual([false, false]);
  expect(withLeases(given, leases)).toBe(given);
  expect(withLeases(given, new Map())).toBe(given);
  expect(withLeases(given, parseLeases(`${MAC}=`))).toEqual(endpoints);
  // What the host may let it send from is not the guest's word.
  expect(addressesValue(given)).toBe(`${bridge.mac}=172.16.0.2;${MAC}=`);
  expect(cardSettings(given[1]!, given)).toMatchObject({ address: '', dhcp: 'route' });
  expect(mainEndpoint(given)?.network).toBe('lan');
});

it('it comes before others by its name already while it has no address', () => {
  expect(cardSettings(asking, [bridge, asking])).toMatchObject({ dhcp: 'route' });
  expect(cardSettings(bridge, [bridge, asking]).gateway).toBeUndefined();
});

it('names are asked of the servers that DHCP names, else of the machine’s; or of the container’s own', () => {
  const servers = serversOf({ dns: null }, [asking]);
  expect(servers[0]).toBe('dhcp');
  expect(servers.slice(1).every((one) => one.startsWith('else:'))).toBe(true);
  expect(servers.length).toBeGreaterThan(1);
  const dns = { servers: ['192.0.2.53'], search: [], options: [] };
  expect(serversOf({ dns }, [asking])).toEqual(['192.0.2.53']);
  const named = { ...bridge, named: true, nameServers: ['172.16.0.1'] };
  expect(serversOf({ dns: null }, [named, asking])).toEqual(['172.16.0.1', 'dhcp']);
});

it('the guest puts its address into the hosts file', () => {
  const spec = {
    id: 'a'.repeat(64),
    hostname: 'web',
    domainname: '',
    extraHosts: [],
    dns: null,
    files: [],
    networks: [],
  };
  const process = { args: ['true'], env: [] };
  const program = programSpec({ ...spec, process } as never, [asking], true);
  expect(program.files.find(({ path }) => path === '/etc/hosts')?.content).toContain(`\ndhcp:${MAC}\tweb\n`);
});
