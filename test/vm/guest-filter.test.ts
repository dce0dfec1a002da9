/** The trust levels of container networks in the guest: what may come in and go out, by IPv4 and IPv6, and that a container cannot change it. */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import { noPacketFilter } from '../../tether/program/packet-filter.js';
import type { NicFilter } from '../../tether/program/spec.js';
import { buildTool, neighbour, putTool, sh, startGuest } from '../support/guest-shell.js';
import { type LabGuest, VmLab } from '../support/vm-lab.js';

const SERVE =
  'mkdir -p /www; echo here > /www/index.html; httpd -p 80 -h /www; httpd -p 81 -h /www; echo up; exec sleep 100000';
const CLOSED: NicFilter = { trust: 'closed', ports: [], peers: [] };

let lab: VmLab;
let guest: LabGuest;
let channel: ContainerChannel;
let namespace: string;
let tools: string;
let tool: string;

/** Runs a command on the network outside. @returns what it prints; '' if it fails */
const outside = (...args: string[]): Promise<string> =>
  promisify(execFile)('nsenter', [`--net=/run/netns/${namespace}`, ...args]).then(
    ({ stdout }) => stdout,
    () => '',
  );

beforeAll(async () => {
  tools = await mkdtemp(join(tmpdir(), 'caisson-tool-'));
  tool = await buildTool(tools);
  lab = await VmLab.open();
  namespace = await neighbour(lab, ['10.9.0.1/24', '10.9.0.200/24', 'fd00:9::1/64', 'fd00:9::200/64']);
  ({ guest, channel } = await startGuest(lab, {
    script: SERVE,
    address: '10.9.0.2/24',
    nic: { address6: 'fd00:9::2/64', filter: CLOSED },
  }));
  await putTool(channel, tool);
});
afterAll(async () => {
  await channel?.close(true);
  await lab?.runtime.virtualSwitch.disconnectEndpoint('vm-9');
  await lab?.close();
  await rm(tools, { recursive: true, force: true });
});

/** Which of these get through; by IPv4 and IPv6. */
interface Passes {
  tcp80: boolean;
  tcp81: boolean;
  udp81: boolean;
  ping: boolean;
  /** From the container to the outside: a connection, a datagram, a ping. */
  out: boolean[];
}

async function tried(from: { ip4: string; ip6: string }): Promise<{ ip4: Passes; ip6: Passes }> {
  const one = async (own: string, source: string, gateway: string): Promise<Passes> => {
    const reach = (kind: string, port: number): Promise<boolean> =>
      outside(tool, 'reach', kind, source, own, String(port)).then((answer) => answer === 'yes\n');
    const [tcp80, tcp81, udp81, ping, out] = await Promise.all([
      reach('tcp', 80),
      reach('tcp', 81),
      reach('udp', 81),
      outside('busybox', 'ping', '-c', '1', '-W', '2', '-I', source, own).then((answer) => answer.includes(' 0% ')),
      sh(
        channel,
        `tool reach tcp ${own} ${gateway} 82; tool reach udp ${own} ${gateway} 82;
        ping -c 1 -W 2 ${gateway} > /dev/null && echo yes || echo no`,
      ),
    ]);
    return { tcp80, tcp81, udp81, ping, out: out.split('\n', 3).map((answer) => answer === 'yes') };
  };
  const ip4 = await one('10.9.0.2', from.ip4, '10.9.0.1');
  return { ip4, ip6: await one('fd00:9::2', from.ip6, 'fd00:9::1') };
}

const PEER = { ip4: '10.9.0.1', ip6: 'fd00:9::1' };
const STRANGER = { ip4: '10.9.0.200', ip6: 'fd00:9::200' };
const PEERS = ['10.9.0.0/25', 'fd00:9::/120'];
const passes = (...[tcp80, tcp81, udp81, ping, out]: number[]): Passes => ({
  ...{ tcp80: tcp80 === 1, tcp81: tcp81 === 1, udp81: udp81 === 1, ping: ping === 1 },
  out: Array.from({ length: 3 }, () => out === 1),
});

const NOTHING = passes(0, 0, 0, 0, 0);

it.each<[title: string, filter: NicFilter, from: { ip4: string; ip6: string }, wanted: Passes]>([
  ['closed, before the first process ran', CLOSED, PEER, NOTHING],
  ['outbound', { ...CLOSED, trust: 'outbound' }, PEER, passes(0, 0, 0, 0, 1)],
  ['peers, from one', { ...CLOSED, trust: 'peers', peers: PEERS }, PEER, passes(1, 1, 1, 1, 1)],
  ['peers, from somebody else', { ...CLOSED, trust: 'peers', peers: PEERS }, STRANGER, passes(0, 0, 0, 0, 1)],
  [
    'peers, and nothing to anybody else',
    { ...CLOSED, trust: 'peers', peers: PEERS, to: PEERS },
    PEER,
    passes(1, 1, 1, 1, 1),
  ],
  ['peers, who are not written to', { ...CLOSED, trust: 'peers', peers: PEERS, to: ['10.9.0.128/25'] }, PEER, NOTHING],
  [
    'published',
    {
      ...CLOSED,
      trust: 'published',
      ports: [
        { protocol: 'tcp', first: 79, last: 80 },
        { protocol: 'udp', first: 81, last: 81 },
      ],
    },
    STRANGER,
    passes(1, 0, 1, 1, 1),
  ],
  ['open', { ...CLOSED, trust: 'open' }, STRANGER, passes(1, 1, 1, 1, 1)],
])('%s', async (title, filter, from, wanted) => {
  if (filter !== CLOSED) {
    const { mac } = guest.definition.nics[0]!;
    const card = { name: 'eth0', mac, address: '10.9.0.2/24', address6: 'fd00:9::2/64' };
    // A card that is open has no filter: the one before goes with the card.
    if (filter.trust === 'open') await channel.removeNic(mac);
    await channel.addNic({ ...card, filter });
  }
  expect([title, await tried(from)]).toEqual([title, { ip4: wanted, ip6: wanted }]);
});

const bytes = (...parts: (string | number[])[]): string =>
  parts
    .map((part) => (typeof part === 'string' ? part.replaceAll(':', '') : Buffer.from(part).toString('hex')))
    .join('');
const four = (address: string): number[] => address.split('.').map(Number);
/** As `fd00:9::2`, with at most one `::`. */
const six = (address: string): string => {
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':').map((one) => one.padStart(4, '0')));
  const [before, after] = [groups(head), groups(tail)];
  return [...before, ...Array(8 - before.length - after.length).fill('0000'), ...after].join('');
};
const EVERYBODY = 'ffffffffffff';
const OTHER = '02:00:00:00:00:77';
const mark = (letter: string): string => Buffer.from(`mark${letter}`).toString('hex');
/** With its checksum, without which bridges drop it. */
const header4 = (from: string, to: string): string => {
  const header = Buffer.from(bytes('450000210000000040110000', four(from), four(to)), 'hex');
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  return header.toString('hex');
};
const udp4 = (mac: string, from: string, letter: string, to = '10.9.0.1'): string =>
  bytes(EVERYBODY, mac, '0800', header4(from, to), '00350035000d0000', mark(letter));
const udp6 = (mac: string, from: string, letter: string, to = 'fd00:9::1'): string =>
  bytes(EVERYBODY, mac, '86dd', '60000000000d1140', six(from), six(to), '00350035000d0000', mark(letter));
const arp = (mac: string, says: string, about: string, letter: string): string =>
  bytes(EVERYBODY, mac, '0806', '0001080006040002', says, four(about), EVERYBODY, four('10.9.0.1'), mark(letter));
const icmp6 = (mac: string, from: string, type: number, about: string, letter: string): string =>
  bytes(
    EVERYBODY,
    mac,
    '86dd',
    '60000000001d3aff',
    six(from),
    six('ff02::1'),
    [type, 0, 0, 0, 0, 0, 0, 0],
    six(about),
    mark(letter),
  );

/** Frames by the letter of their mark: those that a card's own addresses send, and those that somebody else would have to. */
function forged(mac: string): { own: Record<string, string>; others: Record<string, string> } {
  const own = {
    a: `800 ${udp4(mac, '10.9.0.2', 'a')}`,
    b: `806 ${arp(mac, mac, '10.9.0.2', 'b')}`,
    c: `86dd ${udp6(mac, 'fd00:9::2', 'c')}`,
    d: `86dd ${icmp6(mac, 'fe80::5', 135, 'fd00:9::1', 'd')}`,
    e: `86dd ${icmp6(mac, 'fd00:9::2', 136, 'fd00:9::2', 'e')}`,
  };
  const others = {
    n: `800 ${udp4(mac, '10.9.0.3', 'n')}`,
    o: `800 ${udp4(mac, '192.0.2.1', 'o')}`,
    p: `800 ${udp4(mac, '0.0.0.0', 'p')}`,
    q: `800 ${udp4(OTHER, '10.9.0.2', 'q')}`,
    r: `806 ${arp(mac, mac, '10.9.0.1', 'r')}`,
    s: `806 ${arp(mac, OTHER, '10.9.0.2', 's')}`,
    t: `86dd ${udp6(mac, 'fd00:9::3', 't')}`,
    u: `86dd ${icmp6(mac, 'fd00:9::2', 136, 'fd00:9::1', 'u')}`,
    v: `86dd ${icmp6(mac, 'fe80::5', 134, 'fd00:9::1', 'v')}`,
    // The kernel is told that it is something else than it is.
    w: `1234 ${udp4(mac, '10.9.0.3', 'w')}`,
    x: `806 ${udp4(mac, '10.9.0.3', 'x')}`,
    // In a VLAN, and of a kind that nobody asked for.
    y: `8100 ${udp4(mac, '10.9.0.2', 'y').replace(/^(.{24})/, '$181000007')}`,
    z: `88cc ${bytes(EVERYBODY, mac, '88cc', mark('z'))}`,
  };
  return { own, others };
}

it('no process sends as somebody else, whatever frames it makes', async () => {
  const { mac } = guest.definition.nics[0]!;
  const { own, others } = forged(mac);
  const last = `800 ${udp4(mac, '10.9.0.2', '!')}`;
  const card = { name: 'eth0', mac, address: '10.9.0.2/24', address6: 'fd00:9::2/64' };
  const filter: NicFilter = { ...CLOSED, trust: 'peers', peers: PEERS };
  const heard = async (): Promise<string> => {
    const hears = spawn('nsenter', [`--net=/run/netns/${namespace}`, tool, 'hear', '!'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: hears.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('hears');
    const all = [...Object.values(others), ...Object.values(own), last].join('\n');
    expect(await sh(channel, `tool frames <<EOF\n${all}\nEOF`, '', { capabilities: ['CAP_NET_RAW'] })).toBe('sent\n');
    const letters: string[] = [];
    for await (const line of lines) letters.push(String(line).at(-1)!);
    return letters.sort().join('');
  };
  // Nothing but the filter keeps them back: the lab's switch lets all of them through.
  const port = guest.definition.moid.replace('vm-', 't');
  const element = `bridge caisson unchecked { "${port}n0" }`;
  await promisify(execFile)('nsenter', [
    `--net=/run/netns/${lab.runtime.virtualSwitch.namespace}`,
    'nft',
    `add element ${element}`,
  ]);
  await channel.removeNic(mac);
  await channel.addNic({ ...card, filter });
  // But one: its bridge knows the card's MAC address.
  const through = Object.keys({ ...own, ...others }).filter((letter) => letter !== 'q');
  expect(await heard()).toBe(`!${through.join('')}`);
  await channel.addNic({ ...card, filter: { ...filter, own: { mac, addresses: ['10.9.0.2', 'fd00:9::2'] } } });
  expect(await heard()).toBe(`!${Object.keys(own).join('')}`);
  // It still works as a card does.
  expect(await tried(PEER)).toEqual({ ip4: passes(1, 1, 1, 1, 1), ip6: passes(1, 1, 1, 1, 1) });
  // Where it is written to is checked for these frames too.
  const inner = {
    ...filter,
    to: ['10.9.0.0/24', 'fd00:9::/64', 'ff00::/8'],
    own: { mac, addresses: ['10.9.0.2', 'fd00:9::2'] },
  };
  await channel.addNic({ ...card, filter: inner });
  others.n = `800 ${udp4(mac, '10.9.0.2', 'n', '192.0.2.1')}`;
  others.t = `86dd ${udp6(mac, 'fd00:9::2', 't', 'fd00:8::1')}`;
  expect(await heard()).toBe('!abcde');
});

it('published ports may have other numbers, which alone are reached', async () => {
  const { mac } = guest.definition.nics[0]!;
  const ports = [
    { protocol: 'tcp' as const, first: 8001, last: 8001, to: 80 },
    { protocol: 'udp' as const, first: 8001, last: 8001, to: 82 },
  ];
  const card = { name: 'eth0', mac, address: '10.9.0.2/24', address6: 'fd00:9::2/64' };
  for (const trust of ['published', 'open', 'outbound'] as const) {
    await channel.removeNic(mac);
    await channel.addNic({ ...card, filter: { trust, ports, peers: [] } });
    for (const [own, source] of [
      ['10.9.0.2', STRANGER.ip4],
      ['fd00:9::2', STRANGER.ip6],
    ] as const) {
      const reach = async (kind: string, port: number): Promise<string> =>
        (await outside(tool, 'reach', kind, source, own, String(port))).trim();
      const [in8001, in80, udp8001, udp82] = await Promise.all([
        reach('tcp', 8001),
        reach('tcp', 80),
        reach('udp', 8001),
        reach('udp', 82),
      ]);
      const wanted = { published: ['yes', 'no'], open: ['yes', 'yes'], outbound: ['no', 'no'] }[trust];
      expect([trust, own, in8001, in80]).toEqual([trust, own, ...wanted]);
      expect([trust, own, udp8001, udp82]).toEqual([trust, own, ...wanted]);
    }
  }
});

it('is not for the container to change, unless it may administer the network', async () => {
  const mine = Buffer.from(noPacketFilter().toString('latin1').replaceAll('IFNAME', 'eth0\0\0'), 'latin1');
  const script = `echo ${mine.toString('base64')} | busybox base64 -d | tool netfilter`;
  expect(await sh(channel, script)).toBe('netfilter: Operation not permitted\n');
  expect(await sh(channel, script, '', { capabilities: ['CAP_NET_ADMIN'] })).toBe('netfilter: Success\n');
});
