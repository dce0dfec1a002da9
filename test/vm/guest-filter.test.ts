/** The trust levels of container networks in the guest: what may come in and go out, by IPv4 and IPv6, and that a container cannot change it. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import { noPacketFilter } from '../../tether/program/packet-filter.js';
import type { NicFilter } from '../../tether/program/spec.js';
import { buildTool, neighbour, openChannel, putTool, sh } from '../support/guest-shell.js';
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
  guest = await lab.define({
    script: SERVE,
    address: '10.9.0.2/24',
    nic: { address6: 'fd00:9::2/64', filter: CLOSED },
  });
  channel = await openChannel(guest);
  await lab.powerOn(guest);
  await guest.printed(/up/);
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

it.each<[title: string, filter: NicFilter, from: { ip4: string; ip6: string }, wanted: Passes]>([
  ['closed, before the first process ran', CLOSED, PEER, passes(0, 0, 0, 0, 0)],
  ['outbound', { ...CLOSED, trust: 'outbound' }, PEER, passes(0, 0, 0, 0, 1)],
  ['peers, from one', { ...CLOSED, trust: 'peers', peers: PEERS }, PEER, passes(1, 1, 1, 1, 1)],
  ['peers, from somebody else', { ...CLOSED, trust: 'peers', peers: PEERS }, STRANGER, passes(0, 0, 0, 0, 1)],
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
