/** What `npm start` brings up: who can use it, and what becomes of it when a part of it dies or hangs. */
import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runningHostd, runningSupervisor } from '../../src/cli/hostd-process.js';
import { socketGroup } from '../../src/common/socket-group.js';
import { provideSocketGroup } from '../../src/setup/socket-group.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { freePort, type Outcome } from '../support/stack.js';
import { endpointPid, listening, type Started, startEngine } from '../support/started.js';

let engine: Started & { output: Outcome };
let registry: TestRegistry;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push(await testImage('busybox'), 'library/busybox:latest');
  engine = await startEngine('--hang-after', '5', '--registry-mirror', `http://${registry.address}`);
  expect(engine.output.code, engine.output.stderr).toBe(0);
});

afterAll(async () => {
  await engine?.stop('--remove');
  await registry?.stop();
});

const mirror = (): string[] => ['--registry-mirror', `http://${registry.address}`];
const hostdPid = (): number | null => runningHostd(engine.paths)?.pid ?? null;
const log = (): string => readFileSync(join(engine.paths.stateDir, 'hostd.log'), 'utf8');

describe('the unix socket', () => {
  it('is what npm start names, with how others may get in', () => {
    const { stdout } = engine.output;
    expect(stdout).toContain(`export DOCKER_HOST=unix://${engine.socket}`);
    expect(stdout).toContain(`docker context create caisson --docker host=unix://${engine.socket}`);
    expect(stdout).toContain('usermod -aG caisson alice');
    expect(stdout).not.toContain('tcp://');
  });

  it('belongs to the group caisson, and nobody else comes through', () => {
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

  it('is all there is: the endpoint listens on no TCP address', async () => {
    expect(await listening(endpointPid(engine.paths))).toEqual([]);
    expect(await listening(runningHostd(engine.paths)!.pid)).toEqual([`127.0.0.1:${engine.hostdPort}`]);
  });
});

describe('--docker-address', () => {
  it('is refused where other machines reach it, before anything is changed', async () => {
    const refused = await engine.start('--docker-address', '0.0.0.0:2375');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/--insecure-tcp/);
  });

  it('opens TCP with a warning, stays when it is not said again, and none closes it', async () => {
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

describe('the group', () => {
  it('is made once, and nobody is put in it', async () => {
    const before = socketGroup();
    await provideSocketGroup();
    expect(socketGroup()).toBe(before);
  });
});

describe('a container goes on, and can be worked with, when', () => {
  /** What the container's process wrote when it started: other words each time. */
  let written: string;
  const read = async (): Promise<string> => (await engine.docker('exec', 'kept', 'cat', '/file')).stdout;
  /** What a user does next. */
  const works = async (): Promise<void> => {
    await expect.poll(read).toBe(written);
    expect((await engine.docker('ps', '--format', '{{.Names}}')).stdout).toBe('kept\n');
    expect((await engine.docker('run', '--rm', 'busybox', 'echo', 'another')).stdout).toBe('another\n');
  };

  it('nothing has happened', async () => {
    const script = 'cat /proc/sys/kernel/random/uuid > /file; while :; do sleep 1; done';
    expect((await engine.docker('run', '-d', '--name', 'kept', 'busybox', 'sh', '-c', script)).code).toBe(0);
    await expect.poll(read).toMatch(/^[0-9a-f-]{36}\n$/);
    written = await read();
    await works();
  });

  it('its logs and those of the engine grow too long: they are begun anew, and older parts kept', async () => {
    const { stateDir, datastoreDir } = engine.paths;
    // That of the one before may not be gone yet.
    const machine = (await engine.docker('ps', '-q', '--no-trunc')).stdout.trim();
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

  it('the supervisor is killed: npm start brings one, which takes the running hostd over', async () => {
    const before = hostdPid()!;
    process.kill(runningSupervisor(engine.paths)!.pid, 'SIGKILL');
    await expect.poll(() => runningSupervisor(engine.paths)).toBeNull();
    expect((await engine.start(...mirror())).code).toBe(0);
    await expect.poll(() => runningSupervisor(engine.paths)).not.toBeNull();
    expect(hostdPid()).toBe(before);
    process.kill(before, 'SIGKILL');
    await expect.poll(() => ![null, before].includes(hostdPid())).toBe(true);
    await works();
  });

  it('npm stop comes while hostd hangs', async () => {
    process.kill(hostdPid()!, 'SIGSTOP');
    const stopped = await engine.stop();
    expect(stopped.stdout).toContain('Stopped.');
    expect([hostdPid(), runningSupervisor(engine.paths)]).toEqual([null, null]);
    expect((await engine.start(...mirror(), '--warm-pool', '0')).code).toBe(0);
    await works();
  });
});
