/** Boot snapshots in a directory: which are kept when a host starts, and which of their processes are killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BootSnapshots } from '../../../src/hostd/qemu/boot-snapshots.js';

let directory: string;
const started: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-snapshots-'));
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

/** A process with a file of that snapshot on its command line, like a VM that resumes from it. */
async function user(name: string): Promise<ChildProcess> {
  const child = spawn('sleep', ['60'], {
    argv0: `vm path=${join(directory, name)}/memory`,
  });
  started.push(child);
  await once(child, 'spawn');
  return child;
}

const snapshot = (name: string, host: string): void => {
  mkdirSync(join(directory, name));
  writeFileSync(
    join(directory, name, 'info.json'),
    JSON.stringify({ host, digests: { memory: '0', state: '0', rehearsal: '0' } }),
  );
};

it('those of another boot image are removed, and VMs resumed from them live on', async () => {
  snapshot('old', 'the boot image before');
  const vm = await user('old');
  await new BootSnapshots(directory, 'this boot image').open();
  expect(existsSync(join(directory, 'old'))).toBe(false);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(vm.exitCode ?? vm.signalCode).toBeNull();
});

it('an unfinished one is removed together with the VM that a killed host left behind', async () => {
  // No process has that id.
  const name = 'new.4194305.building';
  mkdirSync(join(directory, name));
  const vm = await user(name);
  const ended = once(vm, 'exit');
  await new BootSnapshots(directory, 'this boot image').open();
  expect(existsSync(join(directory, name))).toBe(false);
  expect((await ended)[1]).toBe('SIGKILL');
});
