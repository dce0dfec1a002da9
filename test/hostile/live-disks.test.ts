/**
 * A guest's root writes lying structures onto the mounted disk beneath itself. Whoever asks for the container's files
 * soon gets an error message; the engine and the other containers do not notice.
 */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostileExt4, makeExt4 } from '../support/hostile-ext4.js';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import type { Outcome } from '../support/stack.js';

const DIRECTORY = 2;
/** Enough for a busy machine: a frozen reader would take minutes. */
const DEADLINE_MS = 30_000;
let stack: MirroredStack;
let directory: string;
let base: Buffer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-live-'));
  base = await makeExt4(directory, 40);
  stack = await startMirroredStack(['busybox']);
  expect((await stack.docker('run', '--name', 'bystander', 'busybox', 'sh', '-c', 'echo here >/mine')).code).toBe(0);
});
afterAll(async () => {
  await stack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const soon = (...args: string[]): Promise<Outcome> => stack.dockerWith({ timeoutMs: DEADLINE_MS }, ...args);

/** A container whose root user has replaced its disk's filesystem with this. */
async function overwritten(name: string, { image }: HostileExt4): Promise<void> {
  expect((await soon('run', '-d', '--privileged', '--name', name, 'busybox', 'sleep', '1000')).code).toBe(0);
  // The kernel is prevented from writing anything more, so that only the attacker's writes remain.
  const script = `cat >/dev/shm/image && echo u >/proc/sysrq-trigger
    while grep -q '^[^ ]* / [^ ]* rw' /proc/mounts; do usleep 50000; done
    dd if=/dev/shm/image of=/dev/vda bs=1M conv=fsync`;
  const { code, stderr } = await stack.dockerWith(
    { input: image, timeoutMs: DEADLINE_MS },
    'exec',
    '-i',
    name,
    'sh',
    '-c',
    script,
  );
  expect(code, stderr).toBe(0);
  expect((await soon('kill', name)).code).toBe(0);
}

const LIES: [string, RegExp, (disk: HostileExt4) => void][] = [
  [
    'shares directories',
    /directory \d+ is in two places/,
    (disk) => {
      const chain = Array.from({ length: 30 }, (_, i) => disk.find(`d${i}`));
      for (const [i, ino] of chain.slice(0, -1).entries())
        disk.setDirectory(
          disk.firstBlock(ino),
          Array.from({ length: 8 }, (_, n) => ({ name: `n${n}`, ino: chain[i + 1]!, type: DIRECTORY })),
        );
    },
  ],
  [
    'has a journal that overlaps itself',
    /a block is in a file twice/,
    (disk) => {
      const first = disk.dirtyJournal(200 * 1024);
      const runs = Array.from({ length: 200 }, (_, i) => ({ logical: i * 1024, start: first, count: 1024 }));
      disk.setExtents(8, runs, 7000, 200 * 1024 * 4096);
    },
  ],
  ['is no filesystem', /ext4/, (disk) => void disk.image.fill(0xff, 0, 1 << 20)],
];

describe.each(LIES)('a disk that %s', (what, words, lie) => {
  const name = what.split(' ')[0]!;
  let id: string;

  beforeAll(async () => {
    const disk = new HostileExt4(base);
    lie(disk);
    await overwritten(name, disk);
    id = (await soon('inspect', '-f', '{{.Id}}', name)).stdout.trim();
  });

  it('gives an error to those who ask for its files, and affects nobody else', async () => {
    const asked = [
      ['diff', name],
      ['export', name],
      ['cp', `${name}:/d0`, '-'],
      ['commit', name, `made-${name}`],
    ].map((call) => soon(...call));
    const others = [
      ['cp', 'bystander:/mine', '-'],
      ['diff', 'bystander'],
      ['ps', '-a'],
    ].map((call) => soon(...call));
    for (const { code, stdout, stderr } of await Promise.all(asked)) {
      expect([code === 0, stdout]).toEqual([false, '']);
      expect(stderr).toMatch(words);
      expect(stderr).toContain(`the filesystem of container ${id} cannot be read: `);
    }
    for (const { code, stderr } of await Promise.all(others)) expect([code, stderr]).toEqual([0, '']);
    expect((await soon('images', '-q', `made-${name}`)).stdout).toBe('');
  });

  it('does not fail requests that count all disks', async () => {
    const counts = [
      ['ps', '-as'],
      ['system', 'df', '-v'],
      ['inspect', '-s', 'bystander'],
    ].map((call) => soon(...call));
    for (const { code, stdout } of await Promise.all(counts)) {
      expect(code).toBe(0);
      expect(stdout).toContain('bystander');
    }
  });

  it('belongs to a container that cannot be started, but can be removed', async () => {
    const started = await soon('start', name);
    expect(started.code).not.toBe(0);
    expect(started.stderr).toMatch(/Error response from daemon: ./);
    expect(await soon('rm', '-f', name)).toMatchObject({ code: 0, stderr: '' });
    expect((await soon('run', '--rm', 'busybox', 'echo', 'on')).stdout).toBe('on\n');
  });
});
