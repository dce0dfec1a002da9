/** `docker cp` with paths that lead into a container's volumes and back: of a stopped container, on their disks. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { run, type Stack } from '../support/stack.js';

let stack: Stack;
let scratch: string;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  scratch = mkdtempSync(join(tmpdir(), 'caisson-volume-files-'));
  await ok('pull', 'busybox');
  writeFileSync(join(scratch, 'file'), 'hello\n');
  mkdirSync(join(scratch, 'tree/sub/deep'), { recursive: true });
  writeFileSync(join(scratch, 'tree/sub/deep/leaf'), 'leaf\n');
  symlinkSync('/etc/passwd', join(scratch, 'tree/out'));
  symlinkSync('/data/sub/deep/leaf', join(scratch, 'tree/across'));
  await ok('create', '--name', 'seeds', '-v', 'read:/r', 'busybox', 'true');
  await ok('cp', join(scratch, 'file'), 'seeds:/r/seed');
  // `read` is mounted twice, `inner` inside `outer`, where nothing exists yet.
  await ok(
    ...['create', '--name', 'box', '-v', 'outer:/data', '-v', 'inner:/data/sub/deep', '-v', 'read:/ro:ro'],
    ...['-v', 'read:/a/b/c:ro', 'busybox', 'sleep', '900'],
  );
});

afterAll(async () => {
  await stack?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args);

/** A shell command with this engine as its docker. */
async function sh(script: string): Promise<string> {
  const outcome = await run('sh', ['-c', script], { env: { DOCKER_HOST: stack.dockerHost } });
  expect(outcome.code, `${script}: ${outcome.stderr}`).toBe(0);
  return outcome.stdout;
}

const refusal = async (...args: string[]): Promise<string> => (await stack.docker(...args)).stderr;

describe('docker cp with a stopped container', () => {
  it('copies files into its volumes, each into the right one, and out again', async () => {
    await ok('cp', `${scratch}/tree/.`, 'box:/data');
    await ok('cp', join(scratch, 'file'), 'box:/data/sub/deep/../up');
    expect((await sh('docker cp box:/data - | tar -t | sort')).split('\n')).toEqual([
      ...['data/', 'data/across', 'data/out', 'data/sub/', 'data/sub/deep/', 'data/sub/deep/leaf', 'data/sub/up', ''],
    ]);
    expect(await sh('docker cp box:/a - | tar -t')).toBe('a/\na/b/\na/b/c/\na/b/c/seed\n');
  });

  it('follows links from the root into a volume and back', async () => {
    expect(await sh('docker cp -L box:/data/across - | tar -xO')).toBe('leaf\n');
    expect(await sh('docker cp -L box:/data/out - | tar -xO')).toContain('root:');
    symlinkSync('/data/sub', join(scratch, 'into'));
    await sh(`tar -C ${scratch} -c into | docker cp - box:/`);
    await ok('cp', join(scratch, 'file'), 'box:/into/deep/linked');
  });

  it('refuses what Docker refuses', async () => {
    const file = join(scratch, 'file');
    for (const path of ['/ro', '/ro/x', '/a/b/c/x'])
      expect(await refusal('cp', file, `box:${path}`)).toContain('mounted volume is marked read-only');
    writeFileSync(join(scratch, 'data'), 'no directory');
    const over = `tar -C ${scratch} -c data | docker cp - box:/`;
    await expect(sh(over)).rejects.toThrow('cannot overwrite directory "data" with non-directory "/"');
    mkdirSync(join(scratch, 'below/ro'), { recursive: true });
    writeFileSync(join(scratch, 'below/ro/new'), '');
    await expect(sh(`tar -C ${scratch}/below -c ro/new | docker cp - box:/`)).rejects.toThrow(
      'openat ro/new: read-only file system',
    );
  });

  it('has placed them where the container finds them', async () => {
    await ok('start', 'box');
    expect(
      await ok('exec', 'box', 'sh', '-c', 'cd /data; cat sub/up across sub/deep/linked /ro/seed /a/b/c/seed'),
    ).toBe('hello\nleaf\nhello\nhello\nhello\n');
    expect(await ok('exec', 'box', 'ls', '/data/sub/deep')).toBe('leaf\nlinked\n');
  });

  it('sees a volume as the running container that uses it does, and both see what is copied into it', async () => {
    await ok('create', '--name', 'beside', '-v', 'outer:/o', '-v', 'inner:/o/sub/deep', 'busybox', 'true');
    await ok('exec', 'box', 'sh', '-c', 'echo fresh > /data/fresh');
    expect(await sh('docker cp beside:/o/fresh - | tar -xO')).toBe('fresh\n');
    await ok('cp', join(scratch, 'file'), 'beside:/o/sub/deep/beside');
    expect(await ok('exec', 'box', 'cat', '/data/sub/deep/beside')).toBe('hello\n');
    // Also with a paused container, which stays paused.
    await ok('pause', 'box');
    expect(await sh('docker cp beside:/o/fresh - | tar -xO')).toBe('fresh\n');
    expect(await ok('inspect', '-f', '{{.State.Status}}', 'box')).toBe('paused\n');
    await ok('rm', '-f', 'box');
    expect(await sh('docker cp beside:/o/sub/deep/beside - | tar -xO')).toBe('hello\n');
  });
});
