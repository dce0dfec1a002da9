/** A full filesystem stops no process of the engine: neither through its log nor through its heartbeat. */
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startHeartbeat } from '../../../src/common/heartbeat.js';
import { LogOutput } from '../../../src/common/log-output.js';
import { smallFilesystem } from '../../support/small-filesystem.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-full-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const compiled = (name: string): string =>
  JSON.stringify(fileURLToPath(new URL(`../../../dist/src/common/${name}.js`, import.meta.url)));

/** Runs a program with that standard output. @returns its exit code */
async function run(program: string, output: number): Promise<number | null> {
  const file = join(directory, 'program.mjs');
  writeFileSync(file, program);
  const { VITEST: _, ...env } = process.env;
  const child = spawn(process.execPath, [file], { stdio: ['ignore', output, 'inherit'], env, timeout: 15_000 });
  return new Promise((resolve) => child.once('exit', resolve));
}

it('a process whose log cannot be written carries on, and exits as it chooses', async () => {
  const full = openSync('/dev/full', 'w');
  const program = `import { logger } from ${compiled('log')};
    process.on('uncaughtException', () => process.exit(7));
    const log = logger('test');
    for (let i = 0; i < 5; i++) {
      log.info('nobody reads this');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    log.fatal('nor this');
    process.exit(3);`;
  expect(await run(program, full)).toBe(3);
  closeSync(full);
});

it('the log reports how many lines it lost once there is room again', async () => {
  const path = join(directory, 'log');
  writeFileSync(path, '');
  const [full, file] = [openSync('/dev/full', 'w'), openSync(path, 'a')];
  const output = new LogOutput(full);
  for (let i = 0; i < 3; i++) output.write('lost\n');
  Object.assign(output, { descriptor: file });
  output.write('written\n');
  expect(readFileSync(path, 'utf8')).toMatch(/^\{.*"msg":"3 lines of this log could not be written"\}\nwritten\n$/);
  for (const one of [full, file]) closeSync(one);
});

it.runIf(process.getuid?.() === 0)('a heartbeat needs no room on the disk', () => {
  const full = smallFilesystem(1);
  const path = join(full.path, 'beat');
  full.take(1);
  const beating = startHeartbeat(path);
  beating.stop();
  // Nothing could be written; its length, and with it the modification time, changes all the same.
  expect(statSync(path)).toMatchObject({ blocks: 0, size: 2 });
  full.remove();
});
