/**
 * Networks, ports and the way out live in namespaces of their own: the machine's own network settings stay as they were, virtual container
 * hosts never meet, and nothing is left of one that was deleted, nor of an engine that was killed.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitForDocker } from '../../src/cli/docker-probe.js';
import { startHostdProcess } from '../../src/cli/hostd-process.js';
import { dockerOk } from '../support/docker-ok.js';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import { freePort, run } from '../support/stack.js';
import { endpointPid } from '../support/started.js';
import { namespaceNumbers, namesServersOf, processesOf, spoolsNow, tracesOf } from '../support/traces.js';

const output = promisify(execFile);

/** What a user would look at. Counters and ages of addresses and rules change by themselves. */
const LOOKS: Record<string, string[]> = {
  links: ['ip', '-o', 'link'],
  addresses: ['ip', '-o', 'address'],
  routes: ['ip', 'route', 'show', 'table', 'all'],
  'routes of IPv6': ['ip', '-6', 'route', 'show', 'table', 'all'],
  rules: ['ip', 'rule'],
  'rules of IPv6': ['ip', '-6', 'rule'],
  nftables: ['nft', 'list', 'ruleset'],
  iptables: ['iptables-save'],
  sysctls: [
    'sh',
    '-c',
    'grep -rs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/bridge',
  ],
};

async function settings(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const [what, [command = '', ...args]] of Object.entries(LOOKS)) {
    if (command === 'iptables-save' && !existsSync('/usr/sbin/iptables-save')) continue;
    const { stdout } = await output(command, args, { maxBuffer: 64 << 20 }).catch((error: { stdout?: string }) => ({
      stdout: error.stdout ?? '',
    }));
    const lasting = stdout
      .replaceAll(/ counter packets \d+ bytes \d+|\[\d+:\d+\]|(valid_lft|preferred_lft|expires) \d+sec/g, '')
      .replaceAll(/^#.*\n/gm, '');
    found[what] = lasting.split('\n').sort();
  }
  return found;
}

const machineAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((all = []) =>
    all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address),
  );

let before: Record<string, string[]>;
let stack: MirroredStack;
/** Its address of the Docker API. */
let other: string;
/** Spool directories of other engines. */
let foreign: string[];
/** Of the engine with the host `test` alone. */
let without: string[];

const docker = (...args: string[]): Promise<string> => dockerOk(stack, ...args).then((text) => text.trim());
async function dockerOfOther(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await run('docker', args, { env: { DOCKER_HOST: other } });
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  return stdout.trim();
}

/** No snapshot of a new shape of machine is being made. */
const settled = (): Promise<void> =>
  expect.poll(() => tracesOf(stack.paths).filter((one) => one.includes('snapshot'))).toEqual([]);

beforeAll(async () => {
  before = await settings();
  foreign = spoolsNow();
  stack = await startMirroredStack(['busybox'], {
    createOptions: ['--container-network', 'test-lan:lan', '--container-network-gateway', 'test-lan:10.203.0.1/24'],
    hostdOptions: ['--warm-pool', '0'],
  });
});
afterAll(async () => stack?.stop());

it('the machine’s interfaces, routes, firewall and settings stay the same', async () => {
  for (const what of ['links', 'addresses', 'rules', 'sysctls']) expect(before[what]?.length, what).toBeGreaterThan(2);
  await docker('network', 'create', 'plain');
  await docker('network', 'create', '--ipv6', 'both');
  await docker('network', 'create', '--internal', 'inner');
  await docker('run', '-d', '--name', 'one', '--network', 'plain', '-p', '80', 'busybox', 'sleep', '100000');
  for (const network of ['both', 'inner', 'lan']) await docker('network', 'connect', network, 'one');
  // Something takes the way out, though not far.
  for (const address of machineAddresses()) await stack.docker('exec', 'one', 'timeout', '3', 'nc', address, '9');
  expect(await settings()).toEqual(before);
});

/** Answers with a word, and notes that it was asked. */
const serve = (word: string): string[] => [
  ...['busybox', 'sh', '-c', `while :; do echo ${word} | nc -l -p 80; echo asked; done`],
];
const ask = (address: string): string[] => ['sh', '-c', `timeout 3 nc ${address} 80 </dev/null || true`];

it('two virtual container hosts with the same networks and addresses never meet', async () => {
  await settled();
  // The one that serves, and its spare.
  await expect.poll(() => namesServersOf(stack.paths)).toBe(2);
  without = tracesOf(stack.paths);
  const port = await freePort();
  other = `tcp://127.0.0.1:${port}`;
  const created = await stack.vicMachine(
    ...['create', '--name', 'other', '--image-store', 'datastore1', '--bridge-network', 'other-bridge', '--no-tls'],
    ...['--docker-address', `127.0.0.1:${port}`, '--channel-dir', join(stack.paths.runDir, 'vch', 'other')],
    ...['--registry-mirror', `http://${stack.registry.address}`],
  );
  expect([created.code, created.stderr]).toEqual([0, expect.any(String)]);
  const on = (name: string, address: string): string[] => [
    'run',
    '-d',
    '--name',
    name,
    '--network',
    'same',
    '--ip',
    address,
  ];
  for (const host of [docker, dockerOfOther]) await host('network', 'create', '--subnet', '10.202.1.0/24', 'same');
  await docker(...on('server', '10.202.1.10'), ...serve('test'));
  await dockerOfOther(...on('server', '10.202.1.10'), ...serve('other'));
  await dockerOfOther(...on('lonely', '10.202.1.20'), ...serve('lonely'));
  await docker('network', 'connect', '--ip', '10.202.1.20', 'same', 'one');
  // The same address is another container for each of them.
  expect(await docker('exec', 'one', ...ask('10.202.1.10'))).toBe('test');
  expect(await dockerOfOther('exec', 'lonely', ...ask('10.202.1.10'))).toBe('other');
  await docker('network', 'disconnect', 'same', 'one');
  await docker('network', 'connect', '--ip', '10.202.1.30', 'same', 'one');
  // An address that only the other host has.
  expect(await docker('exec', 'one', ...ask('10.202.1.20'))).toBe('');
  expect(await dockerOfOther('exec', 'server', ...ask('10.202.1.20'))).toBe('lonely');
  await expect.poll(() => dockerOfOther('logs', 'lonely')).toBe('asked');
  expect(await dockerOfOther('logs', 'server')).toBe('asked');
});

it('nothing is left of one that is deleted', async () => {
  const namespaces = namespaceNumbers(stack.paths);
  expect(tracesOf(stack.paths)).not.toEqual(without);
  await docker('rm', '-f', 'server');
  await docker('network', 'disconnect', 'same', 'one');
  await docker('network', 'rm', 'same');
  const deleted = await stack.vicMachine('delete', '--name', 'other', '--force');
  expect([deleted.code, deleted.stderr]).toEqual([0, expect.any(String)]);
  await expect.poll(() => tracesOf(stack.paths, namespaces)).toEqual(without);
});

it('nothing is left of an engine that was killed as a whole, then started, and whose host was deleted', async () => {
  const namespaces = namespaceNumbers(stack.paths);
  const { host } = new URL(stack.login().url);
  const all = processesOf(stack.paths);
  expect([...all.values()]).toEqual(expect.arrayContaining(['caisson-relay', 'qemu-system-x86']));
  expect([...all.keys()]).toContain(endpointPid(stack.paths, 'test'));
  for (const pid of all.keys())
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended with another.
    }
  await expect.poll(() => [...processesOf(stack.paths, namespaces).values()]).toEqual([]);
  await startHostdProcess(stack.paths, host, ['--warm-pool', '0']);
  await waitForDocker({ host: '127.0.0.1', port: stack.port }, 60_000);
  // It knows what it had, and that it no longer runs.
  await expect.poll(() => docker('inspect', '-f', '{{.State.Running}}', 'one')).toBe('false');
  await docker('start', 'one');
  await docker('exec', 'one', 'true');
  const deleted = await stack.vicMachine('delete', '--name', 'test', '--force');
  expect([deleted.code, deleted.stderr]).toEqual([0, expect.any(String)]);
  await settled();
  const of = (kind: string): string[] => tracesOf(stack.paths, namespaces).filter((one) => one.startsWith(`${kind} `));
  expect(of('namespace')).toEqual([`namespace csn-${stack.paths.instance}`]);
  // The bridges of "VM Network" and of the container network, which others may use. Interfaces and their rules take a moment to go.
  await expect.poll(() => of('link')).toEqual([expect.stringMatching(/ br/), expect.stringMatching(/ br/), 'link lo']);
  await expect.poll(() => of('rule').filter((one) => /"t\d|policy_/.test(one))).toEqual([]);
  // hostd's own.
  expect(of('socket')).toEqual([`socket ${stack.paths.runDir}/files.sock`]);
  expect(of('spool')).toEqual(foreign);
  expect(of('file').filter((one) => /\/(vch|vm|pool|endpoint)\//.test(one))).toEqual([]);
  expect(of('process').filter((one) => /qemu|caisson/.test(one))).toEqual([]);
  // hostd and its supervisor.
  expect(of('process').filter((one) => one === 'process node')).toHaveLength(2);
  await stack.stop();
  expect(tracesOf(stack.paths, namespaces)).toEqual(foreign);
  expect(await settings()).toEqual(before);
});
