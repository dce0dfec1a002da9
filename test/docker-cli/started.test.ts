/** What `npm start` brings up: who can use it, and what happens when a part of it dies or hangs. */
import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runningHostd, runningSupervisor } from '../../src/cli/hostd-process.js';
import { identify } from '../../src/common/process-id.js';
import { socketGroup } from '../../src/common/socket-group.js';
import { provideSocketGroup } from '../../src/setup/socket-group.js';
import { type ClosedCheckout, closedCheckout } from '../support/closed-checkout.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { freePort, type Outcome } from '../support/stack.js';
import { endpointPid, listening, porterAndWorker, type Started, startEngine } from '../support/started.js';

let engine: Started & { output: Outcome };
let registry: TestRegistry;
let checkout: ClosedCheckout;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push(await testImage('busybox'), 'library/busybox:latest');
  // As in root's home: nothing below may depend on files that others can read.
  checkout = closedCheckout();
  engine = await startEngine(['--hang-after', '5', '--registry-mirror', `http://${registry.address}`], checkout);
  expect(engine.output.code, engine.output.stderr).toBe(0);
});

afterAll(async () => {
  await engine?.stop('--remove');
  await registry?.stop();
  checkout?.remove();
});

const mirror = (): string[] => ['--registry-mirror', `http://${registry.address}`];
const hostdPid = (): number | null => runningHostd(engine.paths)?.pid ?? null;
const log = (): string => readFileSync(join(engine.paths.stateDir, 'hostd.log'), 'utf8');
const endpointLog = (): string =>
  readFileSync(join(engine.paths.datastoreDir, 'default', 'endpoint.log'), 'utf8')
    .split('\n')
    .slice(-200)
    .join('\n');

describe('the unix socket', () => {
  it('is named by npm start, along with how to give others access', () => {
    const { stdout } = engine.output;
    expect(stdout).toContain(`export DOCKER_HOST=unix://${engine.socket}`);
    expect(stdout).toContain(`docker context create caisson --docker host=unix://${engine.socket}`);
    expect(stdout).toContain('usermod -aG caisson alice');
    expect(stdout).not.toContain('tcp://');
  });

  it('belongs to the group caisson, and is closed to everybody else', () => {
    const { gid, mode } = statSync(engine.socket);
    expect(gid).toBe(socketGroup());
    expect(mode & 0o777).toBe(0o660);
  });

  it('serves root and members of the group; others are refused', async () => {
    const ask = ['version', '-f', '{{.Server.Os}}'];
    expect(await engine.docker(...ask)).toMatchObject({ stdout: 'linux\n', code: 0 });
    expect(await engine.dockerAs([socketGroup()!], ...ask)).toMatchObject({ stdout: 'linux\n', code: 0 });
    for (const groups of [[], [64100]]) {
      const refused = await engine.dockerAs(groups, ...ask);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toMatch(/permission denied/);
    }
  });

  it('is the only listener: the endpoint listens on no TCP address', async () => {
    expect(await listening(endpointPid(engine.paths))).toEqual([]);
    expect(await listening(runningHostd(engine.paths)!.pid)).toEqual([`127.0.0.1:${engine.hostdPort}`]);
  });
});

describe('--docker-address', () => {
  it('is refused where other machines could reach it, before anything is changed', async () => {
    const refused = await engine.start('--docker-address', '0.0.0.0:2375');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/--insecure-tcp/);
  });

  it('opens TCP with a warning, keeps it when the option is not repeated, and closes it with `none`', async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const opened = await engine.start(...mirror(), '--docker-address', address);
    expect(opened.stdout).toMatch(new RegExp(`Warning: the Docker API listens on ${address} without TLS: every user`));
    expect(await listening(endpointPid(engine.paths))).toEqual([address]);
    expect((await engine.start(...mirror())).stdout).toContain(`tcp://${address}`);
    expect(await listening(endpointPid(engine.paths))).toEqual([address]);
    expect((await engine.start(...mirror(), '--docker-address', 'none')).stdout).not.toContain('tcp://');
    expect(await listening(endpointPid(engine.paths))).toEqual([]);
  });
});

describe('a checkout closed to other users', () => {
  it('stays closed: the endpoint gets the program and the cache in its own mount namespace', async () => {
    const directory = join(checkout.dist, '..');
    for (const closed of [directory, checkout.cache]) expect(statSync(closed).mode & 0o777).toBe(0o700);
    const namespace = (pid: number): number => statSync(`/proc/${pid}/ns/mnt`).ino;
    expect(namespace(endpointPid(engine.paths))).not.toBe(namespace(process.pid));
    expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(engine.paths.runDir);
  });
});

describe('the group', () => {
  it('is created once, without members', async () => {
    const before = socketGroup();
    await provideSocketGroup();
    expect(socketGroup()).toBe(before);
  });
});

describe('a container keeps running and usable when', () => {
  /** What the container's process wrote when it started, different each time. */
  let written: string;
  const read = async (): Promise<string> => (await engine.docker('exec', 'kept', 'cat', '/file')).stdout;
  let published: number;
  const served = (): Promise<string> =>
    fetch(`http://127.0.0.1:${published}/`, { signal: AbortSignal.timeout(5000) }).then(
      (response) => response.text(),
      () => '',
    );
  /** What a user does next. */
  const works = async (): Promise<void> => {
    await expect.poll(read).toBe(written);
    await expect.poll(served).toBe(written);
    expect((await engine.docker('ps', '--format', '{{.Names}}')).stdout).toBe('kept\n');
    expect((await engine.docker('run', '--rm', 'busybox', 'echo', 'another')).stdout).toBe('another\n');
  };

  it('nothing has happened', async () => {
    published = await freePort();
    const script =
      'cat /proc/sys/kernel/random/uuid > /file; ln -s /file /index.html; httpd -h /; while :; do sleep 1; done';
    const options = ['-d', '--name', 'kept', '-p', `127.0.0.1:${published}:80`];
    expect((await engine.docker('run', ...options, 'busybox', 'sh', '-c', script)).code).toBe(0);
    await expect.poll(read).toMatch(/^[0-9a-f-]{36}\n$/);
    written = await read();
    await works();
  });

  it('its logs and those of the engine grow too long: they are rotated, and old ones kept', async () => {
    const { stateDir, datastoreDir } = engine.paths;
    const machine = (await engine.docker('inspect', '-f', '{{.Id}}', 'kept')).stdout.trim();
    const logs = [
      join(stateDir, 'hostd.log'),
      join(datastoreDir, 'default', 'endpoint.log'),
      join(datastoreDir, machine, 'qemu.log'),
    ];
    for (const path of logs) appendFileSync(path, 'x'.repeat(11 * 1024 * 1024));
    await expect
      .poll(() => logs.map((path) => statSync(path).size < 1024 * 1024 && existsSync(`${path}.1`)))
      .toEqual([true, true, true]);
    await works();
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)('hostd gets %s', async (how) => {
    const before = hostdPid()!;
    process.kill(before, how);
    await expect.poll(() => ![null, before].includes(hostdPid())).toBe(true);
    await works();
    if (how === 'SIGSTOP') expect(log()).toMatch(/hostd \(process \d+\) hangs and is ended: it has been stopped/);
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)('the endpoint gets %s', async (how) => {
    const before = endpointPid(engine.paths);
    process.kill(before, how);
    await expect.poll(() => endpointPid(engine.paths) !== before).toBe(true);
    await works();
    if (how === 'SIGSTOP') expect(log()).toMatch(/the endpoint hangs and is ended: it has been stopped/);
  });

  it.each(['porter', 'worker'] as const)('the %s of its published ports is stopped', async (part) => {
    const before = porterAndWorker(engine.paths)!;
    process.kill(before[part], 'SIGSTOP');
    // Requests made meanwhile end, one way or the other.
    const asked = engine.docker('run', '--rm', '-p', '127.0.0.1::80', 'busybox', 'true');
    await expect
      .poll(() => ![undefined, before[part]].includes(porterAndWorker(engine.paths)?.[part]), { timeout: 40_000 })
      .toBe(true);
    await asked;
    await works();
    expect({ porter: log, worker: endpointLog }[part]()).toMatch(/ hangs and is ended: it has been stopped/);
  });

  const runs = (pid: number): boolean => identify(pid) !== null;
  const supervisorPid = (): number | null => runningSupervisor(engine.paths)?.pid ?? null;

  it('the supervisor is killed: npm start starts a new one, which takes over the running hostd', async () => {
    const [hostd, endpoint] = [hostdPid()!, endpointPid(engine.paths)];
    process.kill(supervisorPid()!, 'SIGKILL');
    await expect.poll(supervisorPid).toBeNull();
    await works();
    expect((await engine.start(...mirror())).code).toBe(0);
    await expect.poll(supervisorPid).not.toBeNull();
    expect([hostdPid(), endpointPid(engine.paths)]).toEqual([hostd, endpoint]);
  });

  it('the whole engine is killed: npm start brings it back', async () => {
    const { porter, worker } = porterAndWorker(engine.paths)!;
    const all = [supervisorPid()!, hostdPid()!, endpointPid(engine.paths), porter];
    for (const pid of all) process.kill(pid, 'SIGKILL');
    await expect.poll(() => [...all, worker].filter(runs)).toEqual([]);
    expect((await engine.start(...mirror())).code).toBe(0);
    await works();
    expect(all).not.toContain(supervisorPid());
  });

  it('supervisor and hostd are frozen: npm start notices, and restarts both', async () => {
    const [supervisor, hostd] = [supervisorPid()!, hostdPid()!];
    process.kill(supervisor, 'SIGSTOP');
    process.kill(hostd, 'SIGSTOP');
    const started = await engine.start(...mirror());
    expect(started.code, started.stderr).toBe(0);
    expect([supervisorPid(), hostdPid()]).not.toEqual([supervisor, hostd]);
    expect([supervisor, hostd].filter(runs)).toEqual([]);
    await works();
  });

  it('npm stop is called while hostd hangs', async () => {
    process.kill(hostdPid()!, 'SIGSTOP');
    const stopped = await engine.stop();
    expect(stopped.stdout).toContain('Stopped.');
    expect([hostdPid(), runningSupervisor(engine.paths)]).toEqual([null, null]);
    expect((await engine.start(...mirror(), '--warm-pool', '0')).code).toBe(0);
    await works();
  });
});
