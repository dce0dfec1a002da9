/**
 * What policies cost: a packet between two containers, and one to the outside, with nothing, 500 and 10,000 entries in the verdict maps, and,
 * to compare, with a list of 500 rules; and how long a change takes. In network namespaces, without VMs, so that the kernel's part is not
 * hidden behind that of a VM: `node dist/test/bench/policy.js [gateway]` (as root). Costs are processor time, which a busy machine changes little.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import type { GatewayPolicy, Profile, SwitchPolicy } from '../../src/common/policy/compiled.js';
import { PolicyTables } from '../../src/hostd/switch/policy-tables.js';
import { GatewayTable } from '../../src/porter/policy-table.js';
import { TestBridge, type TestHost } from '../support/namespaces.js';

const VCH = 'f'.repeat(32);
const OUTSIDE = '198.51.100.1';
const ROUNDS = 5;
const CONTAINERS = 1000;

/** Sends datagrams to a socket that nobody reads: ns of processor time for each, on its whole way. */
const FLOOD = `import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9)); n = 100000
for _ in range(2000): s.send(b'x' * 64)
t = time.process_time()
for _ in range(n): s.send(b'x' * 64)
print((time.process_time() - t) / n * 1e9)`;
const SINK = `import socket, time
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 9))
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(('', 9)); t.listen()
print('ready', flush=True)
while True:
  c, _ = t.accept()
  while c.recv(1 << 20): pass`;
/** Gb/s of one TCP connection, by wall clock. */
const STREAM = `import socket, sys, time
s = socket.create_connection((sys.argv[1], 9)); b = bytes(1 << 20); t = time.time(); n = 0
while time.time() - t < 1: n += s.send(b)
print(n * 8 / (time.time() - t) / 1e9)`;

const net = new TestBridge(`pb${process.pid}`);
const [allow, drop] = [
  { id: 'project/allow', action: 'allow' as const, log: false },
  { id: 'project/drop', action: 'drop' as const, log: false },
];
const all = (rule: number): Profile => ({
  tcp: [[0, 65_535, rule]],
  udp: [[0, 65_535, rule]],
  icmp: rule,
  other: rule,
});

/** A policy whose pairs are that many: of as many groups as that takes. */
function pairsOf(entries: number): Pick<SwitchPolicy, 'rules' | 'profiles' | 'usual' | 'pairs'> {
  const side = Math.ceil(Math.sqrt(entries));
  const pairs = Array.from({ length: entries }, (_, at): [number, number, number] => [
    1 + Math.floor(at / side),
    1 + (at % side),
    0,
  ]);
  return { rules: [allow, drop], profiles: [all(0), all(1)], usual: 1, pairs };
}

const macOf = (n: number): string =>
  `02:01:00:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`;

function switchPolicy(entries: number, hosts: readonly TestHost[]): SwitchPolicy {
  const groups = Math.max(1, Math.floor(Math.sqrt(entries)));
  const cards = Object.fromEntries(Array.from({ length: CONTAINERS }, (_, n) => [macOf(n), 1 + (n % groups)]));
  for (const [at, { mac }] of hosts.entries()) cards[mac] = 1 + ((at * 7) % groups);
  return { ...pairsOf(entries), cards };
}

function gatewayPolicy(entries: number, host: TestHost): GatewayPolicy {
  const side = Math.ceil(Math.sqrt(entries));
  const address = (n: number): string => `100.${64 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
  // As many outside ranges as groups, of which one has the address that is asked.
  const outside = Array.from({ length: side }, (_, at): [string, string, number] => [
    address(at * 2),
    address(at * 2),
    1 + at,
  ]);
  return {
    ...pairsOf(entries),
    containers: [
      [host.address4, 1],
      ...Array.from({ length: CONTAINERS }, (_, n): [string, number] => [
        `172.30.${n >> 8}.${n & 255}`,
        1 + (n % side),
      ]),
    ],
    outside: [...outside, [OUTSIDE, OUTSIDE, 1]],
    learned: [],
  };
}

const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
const python = (host: TestHost, script: string, to: string): number =>
  Number(net.inside(host.name, 'python3', '-c', script, to));
const measure = (host: TestHost, to: string): string => {
  const costs = Array.from({ length: ROUNDS }, () => python(host, FLOOD, to));
  const rates = Array.from({ length: 3 }, () => python(host, STREAM, to));
  const least = Math.min(...costs);
  return `${median(costs).toFixed(0)} ns a datagram (least ${least.toFixed(0)}), ${median(rates).toFixed(1)} Gb/s`;
};

async function timed(what: string, step: () => Promise<unknown>): Promise<void> {
  const began = performance.now();
  await step();
  console.log(`  ${what}: ${(performance.now() - began).toFixed(0)} ms`);
}

const card = (name: string, mac: string) => ({ name, nic: { mac, vch: VCH, addresses: undefined, portGroup: 'net' } });

async function betweenContainers(tables: PolicyTables, web: TestHost, db: TestHost): Promise<void> {
  console.log('between containers');
  console.log(`  no policy: ${measure(web, db.address4)}`);
  for (const entries of [1, 500, 10_000]) {
    await tables.set(VCH, switchPolicy(entries, [web, db]));
    console.log(`  ${entries} entries: ${measure(web, db.address4)}`);
  }
  await timed(`a change, with 10,000 entries and ${CONTAINERS} containers`, () => {
    const policy = switchPolicy(10_000, [web, db]);
    policy.pairs[0]![2] = 1;
    return tables.set(VCH, policy);
  });
  await timed('one more container', () => tables.add([card('t5000n0', '02:02:00:00:00:01')]));
  await timed('the counters', () => tables.counts(VCH));
  await tables.set(VCH, null);
  const list = Array.from({ length: 500 }, (_, n) => `add rule bridge long c ip saddr 10.${n >> 8}.${n & 255}.1 drop`);
  const long = ['add table bridge long', 'add chain bridge long c { type filter hook forward priority 0; }', ...list];
  execFileSync('nsenter', [`--net=${net.path}`, '--', 'nft', '-f', '-'], { input: long.join('\n') });
  console.log(`  a list of 500 rules: ${measure(web, db.address4)}`);
  execFileSync('nsenter', [`--net=${net.path}`, '--', 'nft', 'delete', 'table', 'bridge', 'long']);
}

async function toOutside(atGateway: GatewayTable, web: TestHost): Promise<void> {
  console.log('to the outside, at the gateway (without the relay)');
  console.log(`  no policy: ${measure(web, OUTSIDE)}`);
  for (const entries of [1, 500, 10_000]) {
    await atGateway.set(gatewayPolicy(entries, web));
    console.log(`  ${entries} entries: ${measure(web, OUTSIDE)}`);
  }
  await timed(`a change, with 10,000 entries and ${CONTAINERS} containers`, () => {
    const policy = gatewayPolicy(10_000, web);
    policy.pairs[1]![2] = 1;
    return atGateway.set(policy);
  });
}

const switchToo = process.argv[2] !== 'gateway';

net.open();
try {
  const [gateway, web, db] = [9, 1, 2].map((number) => net.host(number)) as [TestHost, TestHost, TestHost];
  net.inside(gateway.name, 'ip', 'addr', 'add', `${OUTSIDE}/32`, 'dev', 'lo');
  net.inside(web.name, 'ip', 'route', 'add', 'default', 'via', gateway.address4);
  for (const host of [gateway, db]) await once(net.start(host.name, 'python3', '-c', SINK).stdout!, 'data');
  const tables = new PolicyTables(net.path);
  const atGateway = new GatewayTable(`/run/netns/${gateway.name}`);
  const card = (name: string, mac: string) => ({
    name,
    nic: { mac, vch: VCH, addresses: undefined, portGroup: 'net' },
  });
  await tables.add([
    ...[web, db].map(({ port, mac }) => card(port, mac)),
    ...Array.from({ length: CONTAINERS }, (_, n) => card(`t${1000 + n}n0`, macOf(n))),
  ]);

  if (switchToo) await betweenContainers(tables, web, db);
  await toOutside(atGateway, web);
  atGateway.close();
  tables.close();
} finally {
  await net.close();
}
