/** How far a card's network is trusted: from an endpoint's configuration and a key of the VM, both of which may be anything. */
import { expect, it } from 'vitest';
import { trustText } from '../../../src/hostd/switch/trust-rules.js';
import { trustedNetworks, trustedPortsOf } from '../../../src/hostd/vm/card-trust.js';

const endpoint = (containerNetworks: unknown): Map<string, string> =>
  new Map([['guestinfo.caisson.vch', JSON.stringify({ name: 'x', containerNetworks })]]);
const network = { portGroup: 'lan', trust: 'peers', dns: [], name: 'lan' };

it.each([
  ['a range of addresses', { gateway: '10.0.0.1/24', ipRanges: ['10.0.0.8-10.0.0.20'] }, ['10.0.0.8-10.0.0.20'], false],
  ['a whole subnet', { gateway: '10.0.5.1/16', ipRanges: [] }, ['10.0.0.0/16'], false],
  ['a whole IPv6 subnet', { gateway: 'fd00:1::1/64', ipRanges: [] }, ['fd00:1::/64'], false],
  ['DHCP', { ipRanges: [] }, [], true],
  ['what would be a rule of its own', { gateway: '10.0.0.1/24', ipRanges: ['1.1.1.1 } accept'] }, [], false],
])('the peers are those of %s', (_, part, peers, dynamic) => {
  expect(trustedNetworks(endpoint([{ ...network, ...part }])).get('lan')).toEqual({ level: 'peers', peers, dynamic });
});

it.each([
  ['no configuration', new Map()],
  ['no JSON', new Map([['guestinfo.caisson.vch', '{']])],
  ['none', endpoint([])],
])('with %s there are no container networks', (_, keys) => {
  expect(trustedNetworks(keys as Map<string, string>).size).toBe(0);
});

it('reads the ports of each card, and leaves out what is none', () => {
  const text = '02:00:00:00:00:0A=80/tcp,1-65535/udp,0/tcp,9-8/tcp,70000/tcp,80/sctp,;02:00:00:00:00:0b=;x';
  expect([...trustedPortsOf(new Map([['caisson.trust', text]]))]).toEqual([
    [
      '02:00:00:00:00:0a',
      [
        { protocol: 'tcp', first: 80, last: 80 },
        { protocol: 'udp', first: 1, last: 65_535 },
      ],
    ],
    ['02:00:00:00:00:0b', []],
    ['x', []],
  ]);
});

it('ports that overlap become one range, which nft would refuse otherwise', () => {
  const ports = [
    [80, 90],
    [85, 85],
    [91, 100],
    [443, 443],
  ].map(([first, last]) => ({ protocol: 'tcp' as const, first: first!, last: last! }));
  expect(trustText('t1n0', { level: 'published', ports, peers: [] })).toContain('tcp dport { 80-100, 443 } accept');
});
