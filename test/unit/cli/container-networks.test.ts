import { Command } from 'commander';
import { expect, it } from 'vitest';
import { vchConfigSchema } from '../../../port-layer/config.js';
import {
  type ContainerNetworkOptions,
  containerNetworkOptions,
  containerNetworks,
} from '../../../src/cli/container-networks.js';
import { VCH_CONFIG } from '../../support/vch-config.js';

const given = (...args: string[]): ContainerNetworkOptions =>
  containerNetworkOptions(new Command().exitOverride())
    .parse(
      args.map((arg) => (arg.startsWith('--') ? `--container-network${arg.slice(2)}` : arg)),
      { from: 'user' },
    )
    .opts<ContainerNetworkOptions>();
const parsed = (...args: string[]) => containerNetworks(given(...args), ['bridge-pg']);

it('networks are described by their port groups, whose names may have colons', () => {
  const networks = parsed(
    ...['--', 'DMZ: web:dmz', '--', 'lan', '--', 'DMZ:v6'],
    ...['---gateway', 'DMZ: web:10.1.2.3/16', '---gateway', 'DMZ:fd00:1::1/64', '---gateway', 'lan:10.9.0.1/24'],
    ...['---ip-range', 'DMZ: web:10.1.7.0/24', '---ip-range', 'DMZ: web:10.1.9.1 - 10.1.9.20'],
    ...['---ip-range', 'DMZ:fd00:1::10-fd00:1::20', '---dns', 'lan:192.0.2.1', '---dns', 'lan:2001:db8::1'],
    ...['---firewall', 'lan:Open', '---firewall', 'DMZ:peers'],
  );
  expect(networks).toEqual([
    {
      name: 'dmz',
      portGroup: 'DMZ: web',
      gateway: '10.1.2.3/16',
      ipRanges: ['10.1.7.0/24', '10.1.9.1-10.1.9.20'],
      dns: [],
      trust: 'published',
    },
    {
      name: 'lan',
      portGroup: 'lan',
      gateway: '10.9.0.1/24',
      ipRanges: [],
      dns: ['192.0.2.1', '2001:db8::1'],
      trust: 'open',
    },
    {
      name: 'v6',
      portGroup: 'DMZ',
      gateway: 'fd00:1::1/64',
      ipRanges: ['fd00:1::10-fd00:1::20'],
      dns: [],
      trust: 'peers',
    },
  ]);
  const bridge = { name: 'bridge', portGroup: 'b', subnet: '172.16.0.0/16' };
  const config = { ...VCH_CONFIG, networks: [bridge], containerNetworks: networks };
  expect(vchConfigSchema.parse(config).containerNetworks).toEqual(networks);
});

it('what is not given stays, and none takes all of them away', () => {
  expect(parsed()).toBeUndefined();
  expect(parsed('--', 'none')).toEqual([]);
});

it.each([
  [['--', ':x'], 'not of the form PORTGROUP:NAME'],
  [['--', 'VM Network'], 'not of the form PORTGROUP:NAME'],
  [['--', 'pg:host'], 'Docker has a network "host" of its own'],
  [['--', 'bridge-pg:x'], 'must not be shared with another network role'],
  [['--', 'a:x', '--', 'b:x'], 'two networks are named "x"'],
  [['--', 'a:x', '--', 'a:y'], '"a" is given twice'],
  [['---dns', 'a:192.0.2.1'], "--container-network-dns 'a:192.0.2.1' does not begin with a port group"],
  [['--', 'a:x', '---dns', 'a:one'], "'one' is not an address"],
  [['--', 'a:x', '---firewall', 'a:some'], "'some' is none of closed, outbound, peers, published, open"],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1'], 'ADDRESS/PREFIX'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.0/24'], "the network's own address"],
  [['--', 'a:x', '---gateway', 'a:10.0.0.255/24'], 'broadcast'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1/24', '---gateway', 'a:10.0.1.1/24'], 'a has two'],
  [['--', 'a:x', '---ip-range', 'a:10.0.0.0/25'], 'needs a --container-network-gateway'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1/24', '---ip-range', 'a:10.0.1.0/25'], 'not within the subnet'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1/24', '---ip-range', 'a:10.0.0.9-10.0.0.8'], 'ends before it begins'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1/24', '---ip-range', 'a:10.0.0.9-10.0.0.10/24'], 'FIRST-LAST or CIDR'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1/24', '---ip-range', 'a:fd00::1-fd00::2'], 'not within the subnet'],
  [['--', 'a:x', '---gateway', 'a:10.0.0.1/24', '---ip-range', 'a:some'], 'FIRST-LAST or CIDR'],
] as const)('%j is refused: %s', (args, message) => {
  expect(() => parsed(...args)).toThrow(message);
});
