/**
 * The trust levels of container networks on the real switch, packet by packet and in both directions. Guests are played on their taps, so
 * nothing but the switch keeps a packet back.
 */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RuntimeNic } from '../../src/hostd/runtime.js';
import type { CardTrust, TrustLevel } from '../../src/hostd/switch/trust-rules.js';
import { VirtualSwitch } from '../../src/hostd/switch/virtual-switch.js';
import { arp, compileFrames, fragments6, icmp, icmpv6, ipv4, ipv6, sentTo, tcp, udp } from '../support/wire/frames.js';
import { TapGuest } from '../support/wire/tap-guest.js';

const network = new VirtualSwitch(`trust${process.pid % 10_000}`);
interface End {
  mac: string;
  ip: string;
  six: string;
}
const end = (number: number, subnet = 0): End => ({
  mac: `02:00:00:00:0f:0${number}`,
  ip: `198.51.${100 + subnet}.${number}`,
  six: `2001:db8:${subnet}::${number}`,
});
const INSIDE = end(1);
const PEER = end(2);
const STRANGER = end(3, 1);
let program: Awaited<ReturnType<typeof compileFrames>>;
let inside: TapGuest;
let peer: TapGuest;
let stranger: TapGuest;

const nic = ({ mac, ip, six }: End, trust?: CardTrust): RuntimeNic => ({
  index: 0,
  mac,
  portGroup: 'net',
  connected: true,
  addresses: [ip, six],
  trust,
});
const trustOf = (level: TrustLevel): CardTrust => ({
  level,
  ports: [
    { protocol: 'tcp', first: 80, last: 80 },
    { protocol: 'tcp', first: 8000, last: 8010 },
    { protocol: 'udp', first: 5000, last: 5000 },
  ],
  peers: ['198.51.100.0/25', '198.51.100.200-198.51.100.210', '2001:db8::/64'],
});
const setLevel = (level: TrustLevel): Promise<void> => network.allow('vm-1', [nic(INSIDE, trustOf(level))]);
const table = (): string =>
  execFileSync('nsenter', [`--net=${network.path}`, '--', 'nft', 'list', 'ruleset'], { encoding: 'utf8' });

beforeAll(async () => {
  program = await compileFrames();
  await network.addPortGroup('net');
  await network.plug('vm-1', [nic(INSIDE, trustOf('open'))]);
  await network.plug('vm-2', [nic(PEER)]);
  await network.plug('vm-3', [nic(STRANGER)]);
  [inside, peer, stranger] = (await Promise.all(
    [1, 2, 3].map((one) => TapGuest.open(program.path, network.path, `t${one}n0`)),
  )) as [TapGuest, TapGuest, TapGuest];
});
afterAll(async () => {
  for (const one of [inside, peer, stranger]) await one?.close();
  await network.remove();
  program?.remove();
});

const [SYN, ACK, RST] = [2, 16, 4];
/** Packets from one end to another, by name. */
function packets(from: End, to: End): Record<string, Buffer> {
  const four = (protocol: number, body: Buffer): Buffer => ipv4(to.mac, from.mac, from.ip, to.ip, protocol, body);
  const begin = (port: number): Buffer => four(6, tcp(from.ip, to.ip, 40_000, port, SYN));
  const six = (next: number, body: Buffer): Buffer => sentTo(to.mac, ipv6(from.mac, from.six, to.six, next, body));
  const [first, rest] = fragments6(six(17, udp(40_000, 9, 'in two pieces..')), 16);
  return {
    'a connection to port 80': begin(80),
    'a connection to port 8005': begin(8005),
    'a connection to port 22': begin(22),
    'a connection with odd flags': four(6, tcp(from.ip, to.ip, 40_000, 22, SYN | 1)),
    'UDP to port 5000': four(17, udp(40_000, 5000, 'x')),
    'UDP to port 9': four(17, udp(40_000, 9, 'x')),
    'UDP over IPv6 to port 5000': six(17, udp(40_000, 5000, 'x')),
    'the first fragment of UDP to port 9': first!,
    'the rest of it, which is nothing without the first': rest!,
    'an echo request': four(1, icmp(8, 0, Buffer.alloc(8))),
    'an echo request over IPv6': sentTo(to.mac, icmpv6(from.mac, from.six, to.six, 128, Buffer.alloc(8))),
    'a reset': four(6, tcp(from.ip, to.ip, 80, 40_000, RST | ACK)),
    'another protocol': four(132, Buffer.alloc(20)),
    'an ARP question': arp(1, from, { mac: to.mac, ip: to.ip }),
  };
}
const NEW = [
  'a connection to port 80',
  'a connection to port 8005',
  'a connection to port 22',
  'a connection with odd flags',
  'UDP to port 5000',
  'UDP to port 9',
  'UDP over IPv6 to port 5000',
  'the first fragment of UDP to port 9',
  'an echo request',
  'an echo request over IPv6',
  'another protocol',
];
/** What nobody can begin anything with. */
const ALWAYS = ['the rest of it, which is nothing without the first', 'a reset', 'an ARP question'];
const PUBLISHED = [
  'a connection to port 80',
  'a connection to port 8005',
  'UDP to port 5000',
  'UDP over IPv6 to port 5000',
  'an echo request',
  'an echo request over IPv6',
];

/** Names of the packets that reach `to`. */
async function passed(from: [TapGuest, End], to: [TapGuest, End]): Promise<string[]> {
  const frames = packets(from[1], to[1]);
  await to[0].received();
  await from[0].send(...Object.values(frames));
  const seen = await to[0].received();
  return Object.keys(frames)
    .filter((name) => seen.includes(frames[name]!.toString('hex')))
    .sort();
}

describe.each<[TrustLevel, { fromPeer: string[]; fromStranger: string[]; out: string[] }]>([
  ['closed', { fromPeer: [], fromStranger: [], out: [] }],
  ['outbound', { fromPeer: ALWAYS, fromStranger: ALWAYS, out: [...ALWAYS, ...NEW] }],
  ['peers', { fromPeer: [...ALWAYS, ...NEW], fromStranger: ALWAYS, out: [...ALWAYS, ...NEW] }],
  [
    'published',
    { fromPeer: [...ALWAYS, ...PUBLISHED], fromStranger: [...ALWAYS, ...PUBLISHED], out: [...ALWAYS, ...NEW] },
  ],
  ['open', { fromPeer: [...ALWAYS, ...NEW], fromStranger: [...ALWAYS, ...NEW], out: [...ALWAYS, ...NEW] }],
])('a network that is %s', (level, { fromPeer, fromStranger, out }) => {
  it('lets in and out what it should, and nothing else', async () => {
    // Whom it has written to under the level before must not matter.
    await network.unplugCard('vm-1', 0);
    await inside.close();
    await network.plugCard('vm-1', nic(INSIDE, trustOf(level)));
    inside = await TapGuest.open(program.path, network.path, 't1n0');
    await inside.received();
    expect(await passed([peer, PEER], [inside, INSIDE])).toEqual(fromPeer.sort());
    expect(await passed([stranger, STRANGER], [inside, INSIDE])).toEqual(fromStranger.sort());
    expect(await passed([inside, INSIDE], [stranger, STRANGER])).toEqual(out.sort());
  });

  it('lets in the answers to what the container has asked, and only these', async () => {
    await setLevel(level);
    const ask = ipv4(STRANGER.mac, INSIDE.mac, INSIDE.ip, STRANGER.ip, 17, udp(3000, 4000, 'question'));
    const reply = (from: number, to: number): Buffer =>
      ipv4(INSIDE.mac, STRANGER.mac, STRANGER.ip, INSIDE.ip, 17, udp(from, to, 'answer'));
    const arrives = async (frame: Buffer): Promise<boolean> => {
      await inside.received();
      await stranger.send(frame);
      return (await inside.received()).includes(frame.toString('hex'));
    };
    expect(await arrives(reply(4000, 3000))).toBe(level === 'open');
    await inside.send(ask);
    expect(await arrives(reply(4000, 3000))).toBe(level !== 'closed');
    for (const other of [reply(4001, 3000), reply(4000, 3001)]) expect(await arrives(other)).toBe(level === 'open');
    const [accepted, echoed] = [
      ipv4(INSIDE.mac, STRANGER.mac, STRANGER.ip, INSIDE.ip, 6, tcp(STRANGER.ip, INSIDE.ip, 22, 40_000, SYN | ACK)),
      ipv4(INSIDE.mac, STRANGER.mac, STRANGER.ip, INSIDE.ip, 1, icmp(0, 0, Buffer.alloc(8))),
    ];
    for (const answer of [accepted, echoed]) expect(await arrives(answer)).toBe(level !== 'closed');
  });
});

it('survives a restart of the host, and is gone with the card', async () => {
  await setLevel('outbound');
  const again = new VirtualSwitch(network.namespace.slice(4));
  await again.addPortGroup('net');
  // Also before the card is found again.
  expect(await passed([stranger, STRANGER], [inside, INSIDE])).toEqual([...ALWAYS].sort());
  await again.adopt('vm-1', [nic(INSIDE, trustOf('outbound'))]);
  expect(await passed([stranger, STRANGER], [inside, INSIDE])).toEqual([...ALWAYS].sort());
  await again.allow('vm-1', [nic(INSIDE, { ...trustOf('published'), ports: [] })]);
  await expect.poll(() => passed([stranger, STRANGER], [inside, INSIDE])).toContain('an echo request');
  expect(table()).toContain('in_t1n0');
  await again.unplug('vm-1');
  await expect.poll(table).not.toContain('t1n0');
});
