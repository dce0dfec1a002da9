/** A compromised endpoint: its processes may do next to nothing on the machine. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
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
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VchConfig } from '../../port-layer/config.js';
import { startHostdProcess, stopHostdProcess } from '../../src/cli/hostd-process.js';
import { spoolDirectory } from '../../src/common/paths.js';
import { identify } from '../../src/common/process-id.js';
import { VimClient } from '../../src/vim25/index.js';
import { inventory } from '../support/inventory.js';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import { filesWith, processesWith, type Secrets, secretsIn, waysOf } from '../support/secret-search.js';
import { freePort, type Outcome, run } from '../support/stack.js';

let stack: MirroredStack;

beforeAll(async () => {
  // Debug logging must not contain secrets either.
  process.env.CAISSON_LOG_LEVEL = 'debug';
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

/** Null while they are starting. */
function lookFor(name: string): Processes | null {
  try {
    const { pid } = JSON.parse(readFileSync(join(channels(name), 'endpoint.json'), 'utf8')) as { pid: number };
    const file = runFile('.pid')
      .map((path) => JSON.parse(readFileSync(path, 'utf8')) as { pid: number; porter: { pid: number } })
      .find((one) => one.pid === pid);
    const worker = children(file!.porter.pid).find(
      (child) => readFileSync(`/proc/${child}/comm`, 'utf8') === 'caisson-relay\n',
    );
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

/** Runs a command with an endpoint's privileges. */
const as = (user: number, ...command: string[]): Promise<Outcome> =>
  run('setpriv', [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--no-new-privs', ...command]);

const SERVER = ['busybox', 'sh', '-c', 'mkdir /w; echo served > /w/index.html; httpd -p 80 -h /w; exec sleep 1000'];
const answer = (url: string): Promise<string> =>
  fetch(url, { signal: AbortSignal.timeout(5000) }).then(
    (response) => response.text(),
    () => '',
  );

describe('privileges', () => {
  it('the endpoint has none; the relay may use any address and low ports; the porter has only those that it needs', async () => {
    const [mine, other] = [await processes('test'), await processes('other')];
    for (const pid of [mine.endpoint, mine.worker, other.endpoint, other.worker]) {
      const of = status(pid);
      expect(of.get('Uid')).toMatch(/^([1-9]\d*)\t\1\t\1\t\1$/);
      expect(of.get('Gid')).toMatch(/^([1-9]\d*)\t\1\t\1\t\1$/);
      expect(of.get('Groups')?.trim()).toBe('');
      // net_bind_service and net_raw.
      const kept = [mine.worker, other.worker].includes(pid) ? '0000000000002400' : '0000000000000000';
      for (const set of ['CapInh', 'CapBnd', 'CapAmb']) expect(of.get(set), set).toBe('0000000000000000');
      for (const set of ['CapPrm', 'CapEff']) expect(of.get(set), set).toBe(kept);
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

  it('one thread of the relay is in the network namespace of the containers; the endpoint is not', async () => {
    const { endpoint, worker } = await processes('test');
    const networks = (pid: number): number[] =>
      readdirSync(`/proc/${pid}/task`).map((thread) => statSync(`/proc/${pid}/task/${thread}/ns/net`).ino);
    const ours = statSync('/proc/self/ns/net').ino;
    expect(new Set(networks(endpoint))).toEqual(new Set([ours]));
    expect(networks(worker).map((one) => one === ours)).toEqual([true, false]);
    for (const thread of readdirSync(`/proc/${worker}/task`))
      expect(readFileSync(`/proc/${worker}/task/${thread}/status`, 'utf8')).toMatch(
        /CapEff:\t0000000000002400\n[\s\S]*Seccomp:\t2\n/,
      );
  });

  it('hostd’s secrets are not in its environment', async () => {
    const environment = readFileSync(`/proc/${(await processes('test')).endpoint}/environ`, 'utf8');
    expect(environment).not.toMatch(/PASSWORD|VITEST|HOME=/);
  });
});

describe('files', () => {
  it('neither hostd’s files, nor the datastore, nor those of another endpoint can be read', async () => {
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

  it('no endpoint can use the API or the channels of another one', async () => {
    const { user } = await processes('test');
    for (const name of readdirSync(channels('other')).filter((one) => one.endsWith('.sock'))) {
      const socket = join(channels('other'), name);
      const tried = await as(user, 'curl', '-sS', '--unix-socket', socket, 'http://x/_ping');
      expect(tried.code, socket).not.toBe(0);
    }
  });

  it('files of an endpoint that ran as root are given to the new one, without following links', async () => {
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

  it('an endpoint started as root by an earlier engine is killed with all its processes when found', async () => {
    const { user, endpoint, porter } = await processes('test');
    const [pidFile = ''] = runFile('.pid').filter((path) => readFileSync(path, 'utf8').includes(`"pid":${endpoint},`));
    const { host } = new URL(stack.login().url);
    await stopHostdProcess(stack.paths);
    for (const pid of [endpoint, porter]) process.kill(pid, 'SIGKILL');
    // It had a worker in its process group, and its file names no porter.
    const old = spawn('sh', ['-c', 'sleep 1000 & sleep 1000'], { detached: true, stdio: 'ignore' });
    await expect.poll(() => children(old.pid!)).toHaveLength(2);
    const group = [old.pid!, ...children(old.pid!)];
    writeFileSync(pidFile, JSON.stringify(identify(old.pid!)));
    await startHostdProcess(stack.paths, host);
    expect(group.filter((pid) => identify(pid) !== null)).toEqual([]);
    expect((await processes('test')).user).toBe(user);
    expect(readFileSync(join(stack.paths.stateDir, 'hostd.log'), 'utf8')).toContain(
      'was started by an earlier version and runs as root',
    );
    expect((await stack.docker('run', '--rm', 'busybox', 'echo', 'works')).stdout).toBe('works\n');
  });

  it('a configuration that names somebody else’s directory gets no access to it', async () => {
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

async function vchConfig(name: string): Promise<VchConfig> {
  const { user } = await processes(name);
  const own = runFile('.guestinfo.json').find((path) => statSync(path).uid === user) ?? '';
  const keys = JSON.parse(readFileSync(own, 'utf8')) as Record<string, string>;
  return JSON.parse(keys['guestinfo.caisson.vch'] ?? '') as VchConfig;
}

describe('published ports', () => {
  it('work for low ports too, on all addresses and on one, by TCP and UDP', async () => {
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

  it('are back, and of the same user, after the porter hangs and endpoint and hostd end', async () => {
    await stack.docker('run', '-d', '--name', 'stays', '-p', '127.0.0.1:907:80', ...SERVER);
    const served = (): Promise<unknown> => expect.poll(() => answer('http://127.0.0.1:907/')).toBe('served\n');
    await served();
    const { user } = await processes('test');
    // A stopped porter loses what it holds.
    const { porter, endpoint } = await processes('test');
    process.kill(porter, 'SIGSTOP');
    process.kill(endpoint, 'SIGKILL');
    await stack.restartHostd();
    await served();
    await expect.poll(() => stack.docker('ps', '-q').then(({ code }) => code)).toBe(0);
    expect((await processes('test')).user).toBe(user);
    await stack.docker('rm', '-f', 'stays');
  });
});

describe('secrets', () => {
  const secrets: Secrets = new Map();
  const mark = (what: string): string => {
    const secret = `${what.replaceAll(' ', '-')}-${randomBytes(12).toString('hex')}`;
    secrets.set(what, waysOf(secret, ['somebody']));
    return secret;
  };
  const post = async (path: string, auth?: string, body?: object): Promise<number> => {
    const headers = {
      'content-type': 'application/json',
      ...(auth === undefined ? {} : { 'x-registry-auth': Buffer.from(auth).toString('base64url') }),
    };
    const request = { method: 'POST', headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const response = await fetch(`http://127.0.0.1:${stack.port}${path}`, request);
    await response.text();
    return response.status;
  };

  it('are used in correct and incorrect requests', async () => {
    const registry = createServer((request, response) => {
      const wants = { 'www-authenticate': 'Basic realm="private"' };
      response.writeHead(request.headers.authorization === undefined ? 401 : 500, wants).end('{"errors":[]}');
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const address = `127.0.0.1:${(registry.address() as { port: number }).port}`;
    const login = { username: 'somebody', password: mark('password for a registry') };
    const logins = [
      JSON.stringify(login),
      JSON.stringify({ identitytoken: mark('identity token') }),
      JSON.stringify({ registrytoken: mark('registry token') }),
      `{"password":"${mark('password in broken JSON')}"`,
    ];
    for (const auth of logins)
      for (const from of [address, '127.0.0.1:1']) await post(`/images/create?fromImage=${from}/private&tag=1`, auth);
    await post('/auth', undefined, { ...login, serveraddress: address });
    registry.close();

    const own = mark('variable of a container');
    await stack.docker('run', '-d', '--name', 'secretive', '-e', `S=${own}`, 'busybox', 'sleep', '1000');
    const inner = ['-e', `S=${mark('variable of an exec')}`, 'secretive'];
    expect((await stack.docker('exec', ...inner, 'sh', '-c', 'test -n "$S"')).code).toBe(0);
    expect((await stack.docker('exec', ...inner, '/nothing')).code).not.toBe(0);
    expect((await stack.docker('run', '--rm', '-e', `S=${own}`, 'busybox', '/nothing')).code).toBe(127);

    const { url, user, thumbprint } = stack.login();
    const wrong = mark('wrong password');
    await expect(VimClient.connect({ url, user, password: wrong, thumbprint })).rejects.toThrow();
    for (const body of [`<Login>${wrong}`, `<?xml version="1.0"?><Envelope><Body><Login><password>${wrong}</password>`])
      await run('curl', ['-sk', '--data-binary', '@-', url], { input: body });
    await run('curl', ['-sk', '-K', '-'], { input: `url = "${new URL('/folder/x', url)}"\nuser = "${user}:${wrong}"` });
    process.kill((await processes('test')).endpoint, 'SIGKILL');
    await expect.poll(() => stack.docker('ps', '-q').then(({ code }) => code), { timeout: 60_000 }).toBe(0);
  });

  it('are in no log, no process list, and no file that others can read', async () => {
    const { stateDir, runDir } = stack.paths;
    secrets.set('password of the administrator', waysOf(stack.login().password, [stack.login().user]));
    for (const name of ['test', 'other']) {
      const { target } = await vchConfig(name);
      secrets.set(`password of ${name}`, waysOf(target.password, [target.user]));
    }
    const key = readFileSync(join(stateDir, 'hostd.key'), 'utf8').split('\n');
    secrets.set('key of hostd', [key[Math.floor(key.length / 2)]!]);
    const [test, other] = [await processes('test'), await processes('other')];
    const places = [stateDir, runDir, join(spoolDirectory('0'), '..')];
    const found = places.flatMap((place) => filesWith(place, secrets));
    expect(stack.endpointLog()).toContain('"level":"debug"');
    expect(found.filter(({ path }) => /\.log(?:\.\d+)?$/.test(path))).toEqual([]);
    for (const { path, has } of found) {
      for (const user of [65_533, other.user]) {
        // The other endpoint has its own password.
        if (user === other.user && has.join() === 'password of other') continue;
        expect((await as(user, 'test', '-r', path)).code, `${has} in ${path} for ${user}`).not.toBe(0);
      }
    }
    // They are where they have to be, so this test can find them.
    expect(found.flatMap(({ has }) => has)).toEqual(
      expect.arrayContaining([
        'password of the administrator',
        'password of test',
        'password of other',
        'key of hostd',
      ]),
    );
    expect(processesWith(secrets)).toEqual([]);
    expect(identify(test.endpoint)).not.toBeNull();
  });

  it('are in nothing that an engine reports, nor in another host’s view of vSphere', async () => {
    const told = [
      await stack.docker('info', '--format', '{{json .}}'),
      await stack.docker('version', '--format', '{{json .}}'),
      await stack.docker('ps', '-a', '--no-trunc', '--format', '{{json .}}'),
      await stack.docker('system', 'df', '-v', '--format', '{{json .}}'),
      await stack.docker('image', 'inspect', 'busybox'),
      await stack.docker('events', '--since', '1', '--until', String(Math.ceil(Date.now() / 1000))),
    ];
    expect(told.map(({ code }) => code)).toEqual(told.map(() => 0));
    expect(secretsIn(told.map(({ stdout }) => stdout).join('\n'), secrets)).toEqual([]);
    expect(secretsIn((await stack.docker('inspect', 'secretive')).stdout, secrets)).toEqual([
      'variable of a container',
    ]);

    const { target } = await vchConfig('other');
    const client = await VimClient.connect(target);
    try {
      const { eventManager, sessionManager, taskManager } = client.serviceContent;
      const [sessions] = await client.retrieve([sessionManager!], 'SessionManager', ['sessionList', 'currentSession']);
      const [tasks] = await client.retrieve([taskManager!], 'TaskManager', ['recentTask']);
      const seen = [
        await client.retrieve([...(await inventory(client, 'VirtualMachine')).values()], 'VirtualMachine', [
          'config',
          'summary',
          'guest',
        ]),
        await client.call('QueryEvents', eventManager!, { filter: {} }),
        sessions,
        await client.retrieve(tasks!.props.recentTask ?? [], 'Task', ['info']),
      ];
      // It may read its own configuration.
      expect(secretsIn(JSON.stringify(seen), secrets)).toEqual(['password of other']);
    } finally {
      await client.close();
    }
  });
});

function bound(port: number): Promise<void> {
  const socket = createSocket('udp4');
  return new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, '127.0.0.1', resolve);
  }).finally(() => socket.close());
}
