/** A full datastore: the container that needs room is paused with a reason, and resumes later; others do not notice. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { type SmallFilesystem, smallFilesystem } from '../support/small-filesystem.js';
import type { Outcome, Stack } from '../support/stack.js';

let small: SmallFilesystem;
let stack: Stack;
const docker = (...args: string[]): Promise<Outcome> => stack.docker(...args);
const ok = async (...args: string[]): Promise<string> => (await dockerOk(stack, ...args)).trim();
const status = (name: string): Promise<string> => ok('inspect', '-f', '{{.State.Status}} {{.State.Error}}', name);

beforeAll(async () => {
  small = smallFilesystem(400);
  stack = await startMirroredStack(['busybox', 'large'], { stateDir: join(small.path, 'state') });
  await ok('pull', 'busybox');
});
afterAll(async () => {
  await stack?.stop();
  small?.remove();
});

describe('a container that fills the datastore', () => {
  let giveBack: () => void;
  let since: number;

  it('is paused, and says why', async () => {
    since = Math.floor(Date.now() / 1000);
    await ok('run', '-d', '--name', 'other', 'busybox', 'sleep', '600');
    giveBack = small.take(200);
    const fill = 'echo begun; dd if=/dev/zero of=/big bs=1M count=220 && sync && echo written';
    await ok('run', '-d', '--name', 'full', 'busybox', 'sh', '-c', fill);
    await expect.poll(() => status('full')).toBe('paused no space left on device: the container stands still');
    expect(await ok('ps', '--filter', 'name=full', '--format', '{{.Status}}')).toMatch(/\(Paused\)$/);
    expect(await ok('info', '--format', '{{json .Warnings}}')).toContain(
      'container full is paused: no space left on device',
    );
    const events = await ok('events', '--since', `${since - 1}`, '--until', `${Math.ceil(Date.now() / 1000)}`);
    expect(events).toMatch(/container pause .*reason=no space left on device/);
  });

  it('refuses requests with a message, and shows its logs', async () => {
    const executed = await docker('exec', 'full', 'true');
    expect(executed.code).not.toBe(0);
    expect(executed.stderr).toMatch(/is paused: no space left on device/);
    const copied = await docker('cp', 'full:/etc/passwd', '-');
    expect(copied.stderr).toMatch(/is paused: no space left on device/);
    expect(await ok('logs', 'full')).toContain('begun');
  });

  it('does not stop other containers', async () => {
    expect(await ok('exec', 'other', 'echo', 'here')).toBe('here');
    expect(await status('other')).toMatch(/^running/);
  });

  it('is found again by a restarted hostd', async () => {
    await stack.restartHostd();
    await expect.poll(() => status('full')).toMatch(/^paused no space left on device/);
  });

  it('is paused again when it is unpaused too early', async () => {
    await ok('unpause', 'full');
    await expect.poll(() => status('full')).toMatch(/^paused no space left on device/);
  });

  it('continues when there is room', async () => {
    giveBack();
    expect(await ok('wait', 'full')).toBe('0');
    expect(await ok('logs', 'full')).toContain('written');
    expect(await status('full')).toBe('exited');
  });
});

describe('space below the engine’s reserve', () => {
  const free = (): number => {
    const { bavail, bsize } = statfsSync(small.path);
    return bavail * bsize;
  };
  let giveBack: () => void;

  beforeAll(async () => {
    await ok('rm', '-f', 'full', 'other');
    await ok('create', '--name', 'stopped', 'busybox', 'true');
    // Its init layer is created, and takes room.
    await ok('cp', 'stopped:/etc/passwd', '-');
    // Forty megabytes that a commit would have to write twice.
    await ok('run', '--name', 'data', 'busybox', 'dd', 'if=/dev/urandom', 'of=/data', 'bs=1M', 'count=40');
    // Afterwards its machine is off, and has written everything.
    await ok('cp', 'data:/etc/passwd', '-');
    // All but 60 MB, of which 20 MB are the reserve.
    giveBack = small.take(Math.floor(free() / 2 ** 20) - 60);
  });
  afterAll(() => giveBack());

  it('is refused to an image, which leaves nothing behind', async () => {
    const before = free();
    const pulled = await docker('pull', 'large');
    expect(pulled.code).not.toBe(0);
    expect(pulled.stderr).toMatch(/no space left on device/);
    expect(await ok('images', '-q', 'large')).toBe('');
    expect(free()).toBeGreaterThan(before - 2e6);
    expect(await ok('info')).toMatch(/Space of \[datastore1\]: .* 20\.97MB kept in reserve/);
    expect(await ok('info', '--format', '{{json .Warnings}}')).toContain('no space left on device');
  });

  it('is refused to a copy into a container, which stays unchanged', async () => {
    const before = free();
    const directory = mkdtempSync(join(tmpdir(), 'caisson-full-'));
    const file = join(directory, 'much');
    writeFileSync(file, randomBytes(100e6));
    const copied = await docker('cp', file, 'stopped:/');
    rmSync(directory, { recursive: true });
    expect(copied.code).not.toBe(0);
    expect(copied.stderr).toMatch(/no space left on device/);
    expect((await docker('cp', 'stopped:/much', '-')).stderr).toMatch(/Could not find the file|No such container:path/);
    expect(free()).toBeGreaterThan(before - 2e6);
  });

  it('is refused to a commit, which leaves nothing behind', async () => {
    const before = free();
    const made = await docker('commit', 'data', 'made');
    expect(made.code).not.toBe(0);
    expect(made.stderr).toMatch(/no space left on device/);
    expect(await ok('images', '-q', 'made')).toBe('');
    expect(free()).toBeGreaterThan(before - 2e6);
  });

  it('may be used by running containers until it is gone: then they can be killed and removed', async () => {
    const fill = 'dd if=/dev/zero of=/big bs=1M count=300';
    for (const [name, ...end] of [
      ['first', 'kill', 'first'],
      ['second', 'rm', '-f', 'second'],
    ] as const) {
      await ok('run', '-d', '--name', name, 'busybox', 'sh', '-c', fill);
      await expect.poll(() => status(name), { timeout: 60_000 }).toMatch(/^paused no space left on device/);
      await ok(...end);
      if (name === 'first') {
        expect(await ok('wait', name)).toBe('137');
        await ok('rm', name);
      }
    }
    expect(await ok('ps', '-a', '--format', '{{.Names}}')).not.toMatch(/first|second/);
    expect(free()).toBeGreaterThan(50e6);
  });

  it('no longer matters when there is room: a pull and a new volume succeed', async () => {
    giveBack();
    giveBack = () => undefined;
    await ok('pull', 'large');
    await ok('volume', 'create', 'vol');
  });
});

describe('a quota for everything', () => {
  const configure = async (quota: string): Promise<void> => {
    const done = await stack.vicMachine('configure', '--name', 'test', '--storage-quota', quota);
    expect(done.code, done.stderr).toBe(0);
    await expect.poll(async () => (await docker('version')).code, { timeout: 60_000 }).toBe(0);
  };

  it('refuses images, containers and volumes before anything is written, until it is lifted', async () => {
    await ok('rmi', 'large');
    await configure('1MiB');
    expect(await ok('info')).toMatch(/Storage quota: .* of 1\.049MB used: images .*, containers .*, volumes /);
    const { bavail } = statfsSync(small.path);
    for (const args of [
      ['pull', 'large'],
      ['create', '--name', 'more', 'busybox'],
      ['volume', 'create', 'more'],
    ]) {
      const refused = await docker(...args);
      expect(refused.code, args.join(' ')).not.toBe(0);
      expect(refused.stderr).toMatch(/of the 1\.049MB that they may in all, .* \(disk quota exceeded\)/);
      expect(refused.stdout).not.toContain('Downloading');
    }
    expect(Math.abs(statfsSync(small.path).bavail - bavail)).toBeLessThan(100);
    expect(await ok('ps', '-a', '--format', '{{.Names}}')).not.toContain('more');
    await configure('none');
    await ok('create', '--name', 'more', 'busybox');
  });
});
