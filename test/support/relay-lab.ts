/**
 * A relay with all that it needs, in network namespaces of its own: one that stands for the machine, the gateway's, a container's, and the
 * world's. Nothing of the real machine is used or changed.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { relayPath } from '../../src/common/paths.js';
import { NamespaceGateway } from '../../src/porter/gateway.js';
import { prepareRelay } from '../../src/setup/host-programs.js';

const PEER = fileURLToPath(new URL('./relay-peer.py', import.meta.url));
/** Nobody's: the relay runs as it. */
const USER = 63_099;
/** It may have so many files open. */
const FILES = 4000;

/** Where things are: IPv4 and IPv6. */
export const CONTAINER = ['172.30.0.2', 'fd30::2'] as const;
export const GATEWAY = ['172.30.0.1', 'fd30::1'] as const;
export const MACHINE = ['198.51.100.1', 'fd51::1'] as const;
export const WORLD = ['198.51.100.2', 'fd51::2'] as const;
/** Of another network of the VCH. */
export const NEIGHBOUR = ['172.31.0.2', 'fd31::2'] as const;
/** Behind the world, which is the router to there. */
export const BEYOND = ['192.0.2.2', 'fd52::2'] as const;
/** Where the peers serve. */
export const PORT = 7000;

type Place = 'machine' | 'gateway' | 'container' | 'world' | 'neighbour';

export interface RelayLab {
  gateway: NamespaceGateway;
  /** How often the relay was started again. */
  again(): number;
  /** Lets a program in one of the places do something: a function of `relay-peer.py` with its arguments. */
  peer(place: Place, what: string, ...words: (string | number)[]): Promise<{ said?: unknown; error?: string }>;
  relayPid(): number;
  /** The output of a command in one of the places. */
  run(place: Place, ...command: string[]): string;
  close(): Promise<void>;
}

export async function openRelayLab(): Promise<RelayLab> {
  await prepareRelay({ strict: true });
  const name = (place: Place): string => `crl${process.pid}${place[0]}`;
  const places: Place[] = ['machine', 'gateway', 'container', 'world', 'neighbour'];
  const ip = (...words: string[]): unknown => execFileSync('ip', words.join(' ').split(' '));
  const at = (place: Place, command: string): unknown => ip('-n', name(place), command);
  for (const place of places) {
    ip(`netns add ${name(place)}`);
    at(place, 'link set lo up');
  }
  const join = (
    one: Place,
    device: string,
    other: Place,
    hosts: readonly string[],
    others: readonly string[],
  ): void => {
    at(one, `link add ${device} type veth peer name eth0 netns ${name(other)}`);
    for (const [place, card, list] of [
      [one, device, hosts],
      [other, 'eth0', others],
    ] as const) {
      at(place, `link set ${card} up`);
      for (const host of list)
        at(
          place,
          `address add ${host}/${host.includes(':') ? '64 dev' : '24 dev'} ${card}${host.includes(':') ? ' nodad' : ''}`,
        );
    }
  };
  join('machine', 'ext', 'world', MACHINE, WORLD);
  join('gateway', 'eth0', 'container', GATEWAY, CONTAINER);
  join('gateway', 'eth1', 'neighbour', ['172.31.0.1', 'fd31::1'], NEIGHBOUR);
  for (const [place, hosts] of [
    ['container', GATEWAY],
    ['neighbour', ['172.31.0.1', 'fd31::1']],
  ] as const)
    for (const host of hosts) at(place, `route add default via ${host}`);

  for (const [net, via] of [
    ['192.0.2.0/24', WORLD[0]],
    ['fd52::/64', WORLD[1]],
  ]) {
    at('machine', `route add ${net} via ${via} mtu 1300`);
    at('world', `route add ${net} dev eth0`);
  }
  ip(`netns exec ${name('world')} sysctl -qw net.ipv4.ip_forward=1`);
  ip(`netns exec ${name('world')} sysctl -qw net.ipv6.conf.all.forwarding=1`);

  const children: ChildProcess[] = [];
  const inPlace = (place: Place, ...command: string[]): string[] => [
    `--net=/run/netns/${name(place)}`,
    '--',
    ...command,
  ];
  const serve = async (place: Place, hosts: readonly string[]): Promise<void> => {
    const child = spawn('nsenter', inPlace(place, 'python3', PEER, 'serve', String(PORT), ...hosts));
    children.push(child);
    await once(child.stdout!, 'data');
  };
  let again = 0;
  const gateway = new NamespaceGateway(
    `/run/netns/${name('gateway')}`,
    // With few descriptors, so that its limits are soon reached.
    [
      'prlimit',
      `--nofile=${FILES}`,
      'nsenter',
      ...inPlace('machine', relayPath(), '--inner', `/run/netns/${name('gateway')}`, '--user', String(USER)),
    ],
    () => again++,
  );
  await Promise.all([serve('world', WORLD), serve('container', CONTAINER), serve('neighbour', NEIGHBOUR)]);
  await gateway.start([{ interface: 'eth0', address: `${GATEWAY[0]}/24` }]);
  const card = { egress: true, internal: false, mtu: 0, rate: 0 };
  await gateway.network({ interface: 'eth0', addresses: [`${GATEWAY[0]}/24`, `${GATEWAY[1]}/64`], ...card });
  await gateway.network({ interface: 'eth1', addresses: ['172.31.0.1/24', 'fd31::1/64'], ...card, egress: false });

  return {
    gateway,
    again: () => again,
    async peer(place, what, ...words) {
      const command = inPlace(place, 'python3', PEER, what, ...words.map(String));
      const { stdout } = await promisify(execFile)('nsenter', command, { timeout: 200_000 });
      return JSON.parse(stdout) as { said?: unknown; error?: string };
    },
    relayPid: () => (gateway.relay as unknown as { child: { pid: number } }).child.pid,
    run: (place, ...command) => execFileSync('nsenter', inPlace(place, ...command), { encoding: 'utf8' }),
    async close() {
      gateway.relay.stop();
      for (const child of children) child.kill('SIGKILL');
      for (const place of places) ip(`netns delete ${name(place)}`);
    },
  };
}
