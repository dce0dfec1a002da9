import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { APPEND_ANEW, boundLog } from '../../../src/common/log-bound.js';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-log-'));
  path = join(directory, 'x.log');
});
afterEach(() => rmSync(directory, { recursive: true }));

const BOUND = { bytes: 1000, kept: 2 };
const content = (name: string): string => readFileSync(join(directory, name), 'utf8');

describe('a log', () => {
  it('that is short or missing is left alone', async () => {
    expect(await boundLog(path, BOUND)).toBe(false);
    writeFileSync(path, 'x'.repeat(1000));
    expect(await boundLog(path, BOUND)).toBe(false);
    expect(readdirSync(directory)).toEqual(['x.log']);
  });

  it('that is too long is started afresh; a few old ones are kept, cut to the bound, with the same mode', async () => {
    for (const letter of ['a', 'b', 'c', 'd']) {
      writeFileSync(path, `${letter.repeat(5000)}end`, { mode: 0o600 });
      expect(await boundLog(path, BOUND)).toBe(true);
      expect(content('x.log')).toBe('');
    }
    expect(readdirSync(directory).sort()).toEqual(['x.log', 'x.log.1', 'x.log.2']);
    expect(content('x.log.1')).toBe(`${'d'.repeat(997)}end`);
    expect(content('x.log.2')).toBe(`${'c'.repeat(997)}end`);
    expect(statSync(`${path}.1`).mode & 0o777).toBe(0o600);
  });

  it('that is a symbolic link is not followed', async () => {
    writeFileSync(join(directory, 'else'), 'y'.repeat(5000));
    symlinkSync('else', path);
    await expect(boundLog(path, BOUND)).rejects.toMatchObject({ code: 'ELOOP' });
    expect(content('else')).toHaveLength(5000);
  });

  it('of a process that prints endlessly stays small', async () => {
    const output = openSync(path, APPEND_ANEW, 0o600);
    const child = spawn('sh', ['-c', 'while :; do echo 0123456789; done'], { stdio: ['ignore', output, output] });
    closeSync(output);
    try {
      let bounded = 0;
      await expect
        .poll(
          async () => {
            if (await boundLog(path, { bytes: 100_000, kept: 1 })) bounded++;
            return bounded;
          },
          { interval: 20 },
        )
        .toBeGreaterThan(4);
      // It must not write on at its old offset: the file would have a hole, and its old length.
      expect(content('x.log')).not.toContain('\0');
      expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(100_000);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  });
});
