/** An endpoint that was taken over: what its processes may do on the machine, which is next to nothing. */

import { createSocket } from 'node:dgram';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { spoolDirectory } from '../../src/common/paths.js';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import { freePort, type Outcome, run } from '../support/stack.js';

let stack: MirroredStack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  const port = await freePort();
  const created = await stack.vicMachine(
    ...['create', '--name', 'other', '--image-store', 'datastore1', '--bridge-network', 'other-bridge', '--no-tls'],
    ...['--docker-address', `127.0.0.1:${port}`, '--channel-dir', channels('other')],
    ...['--registry-mirror', `http://${stack.registry.address}`],
  );
  expect(created.code, created.stderr).toBe(0);
});
afterAll(() => stack?.stop());

const channels = (name: string): string => join(stack.paths.runDir, 'vch', name);
/** The files of the endpoint VM in the run directory. */
const runFile = (suffix: string): string[] => {
  const directory = join(stack.paths.runDir, 'endpoint');
  return readdirSync(directory)
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(directory, name));
};

interface Processes {
  endpoint: number;
  porter: number;
  worker: number;
  user: number;
}

const status = (pid: number): Map<string, string> =>
  new Map(
    readFileSync(`/proc/${pid}/status`, 'utf8')
      .split('\n')
      .map((line) => line.split(/:\s*/, 2) as [string, string]),
  );

function children(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
}

/** Null while they are being started. */
function lookFor(name: string): Processes | null {
  try {
    const { pid } = JSON.parse(readFileSync(join(channels(name), 'endpoint.json'), 'utf8')) as { pid: number };
    const file = runFile('.pid')
      .map((path) => JSON.parse(readFileSync(path, 'utf8')) as { pid: number; porter: { pid: number } })
      .find((one) => one.pid === pid);
    const [worker] = children(file!.porter.pid);
    const user = Number(status(pid).get('Uid')?.split('\t')[0]);
    return worker === undefined ? null : { endpoint: pid, porter: file!.porter.pid, worker, user };
  } catch {
    return null;
  }
}

async function processes(name: string): Promise<Processes> {
  await expect.poll(() => lookFor(name)).not.toBeNull();
  return lookFor(name)!;
}

/** A command with an endpoint's rights. */
const as = (user: number, ...command: string[]): Promise<Outcome> =>
  run('setpriv', [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--no-new-privs', ...command]);

const SERVER = ['busybox', 'sh', '-c', 'mkdir /w; echo served > /w/index.html; httpd -p 80 -h /w; exec sleep 1000'];
const answer = (url: string): Promise<string> =>
  fetch(url, { signal: AbortSignal.timeout(5000) }).then(
    (response) => response.text(),
    () => '',
  );

describe('rights', () => {
  it('the endpoint and the worker have none; the porter has those of its work', async () => {
    const [mine, other] = [await processes('test'), await processes('other')];
    for (const pid of [mine.endpoint, mine.worker, other.endpoint, other.worker]) {
      const of = status(pid);
      expect(of.get('Uid')).toMatch(/^([1-9]\d*)\t\1\t\1\t\1$/);
      expect(of.get('Gid')).toMatch(/^([1-9]\d*)\t\1\t\1\t\1$/);
      expect(of.get('Groups')?.trim()).toBe('');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        expect(of.get(set), set).toBe('0000000000000000');
      expect(of.get('NoNewPrivs')).toBe('1');
    }
    const users = [mine, other]
      .flatMap(({ endpoint, worker }) => [endpoint, worker])
      .map((pid) => status(pid).get('Uid'));
    expect(new Set(users).size).toBe(4);
    const porter = status(mine.porter);
    expect(porter.get('NoNewPrivs')).toBe('1');
    // No sys_ptrace, sys_module, sys_rawio, mknod, sys_boot, chown, fowner.
    expect(BigInt(`0x${porter.get('CapBnd')}`) & 0x08_4b_00_09n).toBe(0n);
  });

  it('the worker is in the network of the containers, the endpoint is not', async () => {
    const { endpoint, worker } = await processes('test');
    const network = (pid: number): number => statSync(`/proc/${pid}/ns/net`).ino;
    expect(network(endpoint)).toBe(network(process.pid));
    expect(network(worker)).not.toBe(network(process.pid));
  });

  it('root’s secrets of hostd are not in its environment', async () => {
    const environment = readFileSync(`/proc/${(await processes('test')).endpoint}/environ`, 'utf8');
    expect(environment).not.toMatch(/PASSWORD|VITEST|HOME=/);
  });
});

describe('files', () => {
  it('neither hostd’s, nor the datastore, nor another endpoint’s are to be read', async () => {
    const { user } = await processes('test');
    const { stateDir, datastoreDir, runDir } = stack.paths;
    const others = statSync(channels('other')).uid;
    const keys = runFile('.guestinfo.json');
    expect(keys).toHaveLength(2);
    const spools = readdirSync(join(spoolDirectory('0'), '..')).map((id) => join(spoolDirectory('0'), '..', id));
    const forbidden = [
      ...['credentials.json', 'hostd.key', 'endpoint-users.json'].map((name) => join(stateDir, name)),
      ...[datastoreDir, join(runDir, 'pool'), runDir, stateDir, channels('other')],
      ...keys.filter((path) => statSync(path).uid === others),
      ...spools.filter((path) => statSync(path).uid !== user),
    ];
    for (const path of forbidden) {
      if (!existsSync(path)) continue;
      const read = await as(user, lstatSync(path).isDirectory() ? 'ls' : 'cat', path);
      expect(read.stderr, path).toContain('Permission denied');
      expect(read.stdout).toBe('');
    }
    const places = [channels('other'), runDir, join(runDir, 'endpoint'), stateDir];
    const tried = await as(user, 'touch', ...places.map((place) => join(place, 'x')));
    expect(tried.stderr.match(/Permission denied/g)).toHaveLength(places.length);
    const own = keys.find((path) => statSync(path).uid === user) ?? '';
    expect((await as(user, 'cat', own)).stdout).toContain('guestinfo.caisson.vch');
  });

  it('no endpoint may use the API, or the channels, of another one', async () => {
    const { user } = await processes('test');
    for (const name of readdirSync(channels('other')).filter((one) => one.endsWith('.sock'))) {
      const socket = join(channels('other'), name);
      const tried = await as(user, 'curl', '-sS', '--unix-socket', socket, 'http://x/_ping');
      expect(tried.code, socket).not.toBe(0);
    }
  });

  it('what an endpoint that was root left is given to the new one, links not followed', async () => {
    const { user } = await processes('test');
    const marked = join(stack.paths.stateDir, 'roots');
    writeFileSync(marked, 'root’s', { mode: 0o600 });
    const { id } = await vchConfig('test');
    await stack.restart(() => {
      const spool = spoolDirectory(id);
      rmSync(spool, { recursive: true, force: true });
      mkdirSync(join(spool, 'downloads'), { recursive: true, mode: 0o700 });
      writeFileSync(join(spool, 'downloads', 'part'), '', { mode: 0o600 });
      symlinkSync(marked, join(spool, 'downloads', 'link'));
      rmSync(channels('test'), { recursive: true, force: true });
      mkdirSync(channels('test'), { mode: 0o711 });
      writeFileSync(join(channels('test'), 'endpoint.json'), '{}');
    });
    expect((await processes('test')).user).toBe(user);
    expect(statSync(marked)).toMatchObject({ uid: 0, gid: 0 });
    expect(statSync(channels('test')).uid).toBe(user);
    expect(statSync(spoolDirectory(id)).uid).toBe(user);
    expect((await stack.docker('run', '--rm', 'busybox', 'echo', 'works')).stdout).toBe('works\n');
  });

  it('a configuration that names somebody else’s directory does not get it', async () => {
    for (const directory of ['/etc', channels('other')]) {
      const created = await stack.vicMachine(
        ...['create', '--name', 'thief', '--image-store', 'datastore1', '--bridge-network', 'thief-bridge', '--no-tls'],
        ...['--docker-address', `127.0.0.1:${await freePort()}`, '--channel-dir', directory, '--timeout', '20'],
      );
      expect(created.code, directory).not.toBe(0);
      expect(created.stderr).toMatch(/directory for channels|another endpoint/);
    }
    expect(statSync('/etc').uid).toBe(0);
    expect((await stack.vicMachine('ls')).stdout).not.toContain('thief');
  });
});

async function vchConfig(name: string): Promise<{ id: string }> {
  const { user } = await processes(name);
  const own = runFile('.guestinfo.json').find((path) => statSync(path).uid === user) ?? '';
  const keys = JSON.parse(readFileSync(own, 'utf8')) as Record<string, string>;
  return JSON.parse(keys['guestinfo.caisson.vch'] ?? '') as { id: string };
}

describe('published ports', () => {
  it('low ones too, on all addresses and on one, TCP and UDP', async () => {
    const started = await stack.docker(
      ...[
        'run',
        '-d',
        '--name',
        'low',
        '-p',
        '907:80',
        '-p',
        '127.0.0.1:908:80',
        '-p',
        '127.0.0.1:909:9/udp',
        ...SERVER,
      ],
    );
    expect(started.stderr).not.toContain('Error');
    await expect.poll(() => answer('http://127.0.0.1:907/')).toBe('served\n');
    expect(await answer('http://127.0.0.1:908/')).toBe('served\n');
    const ports = (await stack.docker('port', 'low')).stdout;
    expect(ports).toContain('80/tcp -> 0.0.0.0:907');
    expect(ports).toContain('9/udp -> 127.0.0.1:909');
    await expect(bound(909)).rejects.toThrow('EADDRINUSE');
    const taken = await stack.docker('run', '--rm', '-p', '127.0.0.1:908:1', 'busybox', 'true');
    expect(taken.stderr).toContain('Bind for 127.0.0.1:908 failed: port is already allocated');
    await stack.docker('rm', '-f', 'low');
    expect(await answer('http://127.0.0.1:907/')).toBe('');
    await bound(909);
  });

  it('are back after the end of the worker, of the porter, of the endpoint, and of hostd with it', async () => {
    await stack.docker('run', '-d', '--name', 'stays', '-p', '127.0.0.1:907:80', ...SERVER);
    const served = (): Promise<unknown> => expect.poll(() => answer('http://127.0.0.1:907/')).toBe('served\n');
    await served();
    const { user } = await processes('test');
    for (const what of ['worker', 'porter', 'endpoint'] as const) {
      const before = await processes('test');
      process.kill(before[what], 'SIGKILL');
      await expect.poll(() => existsSync(`/proc/${before[what]}`)).toBe(false);
      await served();
      await expect
        .poll(() => stack.docker('exec', 'stays', 'echo', what).then(({ stdout }) => stdout))
        .toBe(`${what}\n`);
      expect((await processes('test')).user).toBe(user);
    }
    // What a stopped porter holds goes with it.
    const { porter, endpoint } = await processes('test');
    process.kill(porter, 'SIGSTOP');
    process.kill(endpoint, 'SIGKILL');
    await stack.restartHostd();
    await served();
    await expect.poll(() => stack.docker('ps', '-q').then(({ code }) => code)).toBe(0);
    await stack.docker('rm', '-f', 'stays');
  });
});

function bound(port: number): Promise<void> {
  const socket = createSocket('udp4');
  return new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, '127.0.0.1', resolve);
  }).finally(() => socket.close());
}
