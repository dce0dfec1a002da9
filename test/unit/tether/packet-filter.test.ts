import { expect, it } from 'vitest';
import { noPacketFilter, packetFilter } from '../../../tether/program/packet-filter.js';
import type { NicFilter } from '../../../tether/program/spec.js';

const NAMES: Record<number, string> = {
  16: 'begin',
  17: 'end',
  2560: 'table',
  2562: 'delete',
  2563: 'chain',
  2566: 'rule',
};

/** The messages' names, in order. The last change alone asks for an acknowledgement. */
function messages(bytes: Buffer): string[] {
  const found: string[] = [];
  const acknowledged: string[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at)) {
    const name = NAMES[bytes.readUInt16LE(at + 4)] ?? 'unknown';
    found.push(name);
    if ((bytes.readUInt16LE(at + 6) & 4) !== 0) acknowledged.push(`${name} ${found.length}`);
    expect(bytes.readUInt32LE(at)).toBeGreaterThanOrEqual(20);
  }
  if (found.length > 0) expect(acknowledged).toEqual([`${found.at(-2)} ${found.length - 1}`]);
  return found;
}

const AFRESH = ['begin', 'table', 'delete', 'table'];
const rules = (count: number): string[] => Array.from({ length: count }, () => 'rule');

// Packets of other cards, answers, IPv6's neighbours (2), the level's own rules, the end.
it.each<[title: string, filter: Partial<NicFilter> & Pick<NicFilter, 'trust'>, wanted: string[]]>([
  ['open', { trust: 'open' }, []],
  ['closed', { trust: 'closed' }, [...AFRESH, 'chain', ...rules(2), 'chain', ...rules(2), 'end']],
  ['outbound', { trust: 'outbound' }, [...AFRESH, 'chain', ...rules(5), 'end']],
  [
    'outbound, whatever was published',
    { trust: 'outbound', ports: [{ protocol: 'tcp', first: 80, last: 80 }] },
    [...AFRESH, 'chain', ...rules(5), 'end'],
  ],
  [
    'open, with a port that leads to another',
    { trust: 'open', ports: [{ protocol: 'tcp', first: 8001, last: 8001, to: 80 }] },
    [...AFRESH, 'chain', ...rules(2), 'end'],
  ],
  [
    'published, with two ports that lead to others',
    {
      trust: 'published',
      ports: [
        { protocol: 'tcp', first: 8001, last: 8001, to: 80 },
        { protocol: 'udp', first: 54, last: 54, to: 53 },
        { protocol: 'tcp', first: 81, last: 81 },
      ],
    },
    [...AFRESH, 'chain', ...rules(3), 'chain', ...rules(9), 'end'],
  ],
  [
    'closed, whatever leads to others',
    { trust: 'closed', ports: [{ protocol: 'tcp', first: 8001, last: 8001, to: 80 }] },
    [...AFRESH, 'chain', ...rules(2), 'chain', ...rules(2), 'end'],
  ],
  ['peers', { trust: 'peers', peers: ['10.0.0.0/8', 'fd00::/64'] }, [...AFRESH, 'chain', ...rules(7), 'end']],
  // Outwards: packets of other cards, neighbours (2), whom it writes to, the end.
  [
    'peers, and nothing to anybody else',
    { trust: 'peers', peers: ['10.0.0.0/8'], to: ['10.0.0.0/8', '224.0.0.0/4'] },
    [...AFRESH, 'chain', ...rules(6), 'chain', ...rules(6), 'end'],
  ],
  // Frames: of another MAC address, ARP, IPv4; another table and chain, and the end.
  [
    'its own address',
    { trust: 'outbound', own: { mac: '00:50:56:00:00:01', addresses: ['10.0.0.2'] } },
    [...AFRESH, 'chain', ...rules(5), ...AFRESH.slice(1), 'chain', ...rules(4), 'end'],
  ],
  [
    'nothing as anybody',
    { trust: 'closed', own: { mac: '00:50:56:00:00:01', addresses: [] } },
    [...AFRESH, 'chain', ...rules(2), 'chain', ...rules(2), ...AFRESH.slice(1), 'chain', ...rules(2), 'end'],
  ],
  [
    'published',
    {
      trust: 'published',
      ports: [
        { protocol: 'tcp', first: 80, last: 90 },
        { protocol: 'udp', first: 53, last: 53 },
      ],
    },
    [...AFRESH, 'chain', ...rules(9), 'end'],
  ],
])('%s', (_, filter, wanted) => {
  expect(messages(packetFilter({ ports: [], peers: [], ...filter }))).toEqual(wanted);
});

it('a card without a filter has no messages; taking one away works whether there is one or not', () => {
  expect(packetFilter(undefined)).toHaveLength(0);
  expect(messages(noPacketFilter())).toEqual(['begin', 'table', 'delete', 'end']);
});

it('a range of peers has the addresses of its ends', () => {
  for (const peers of ['10.1.2.0/23', '10.1.2.0-10.1.3.255']) {
    const bytes = packetFilter({ trust: 'peers', ports: [], peers: [peers] });
    expect(bytes.includes(Buffer.from([10, 1, 2, 0]))).toBe(true);
    expect(bytes.includes(Buffer.from([10, 1, 3, 255]))).toBe(true);
  }
});
