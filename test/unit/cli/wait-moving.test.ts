import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { processTicks, waitWhileMoving } from '../../../src/cli/wait-moving.js';

let directory = '';
let logFile = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-wait-'));
  logFile = join(directory, 'endpoint.log');
  await writeFile(logFile, '{"msg":"before"}\n');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Ready at the n-th check. */
const atLook = (looks: number) => async (): Promise<string | null> => (looks-- > 0 ? null : 'up');
const base = () => ({ what: 'the endpoint', logFile, quietMs: 300 });

describe('waiting for a process', () => {
  it('continues as long as the process uses the processor', async () => {
    let ticks = 0;
    const ready = atLook(20);
    expect(await waitWhileMoving({ ...base(), ready, ticks: () => (ticks += 25) })).toBe('up');
  });

  it('continues as long as the process writes to its log', async () => {
    const ready = atLook(20);
    const writing = async (): Promise<string | null> => {
      await appendFile(logFile, '{"msg":"loading"}\n');
      return ready();
    };
    expect(await waitWhileMoving({ ...base(), ready: writing, ticks: () => 1 })).toBe('up');
  });

  it('fails with the last log lines when there is no progress', async () => {
    await appendFile(logFile, 'waiting for the moon\n');
    let looks = 0;
    // What an idle process uses.
    const waited = waitWhileMoving({ ...base(), ready: async () => null, ticks: () => (looks++ > 4 ? 3 : 2) });
    await expect(waited).rejects.toThrow(/^The endpoint has not come up.*\n.*before.*\nwaiting for the moon$/s);
  });

  it('fails at once with the last log lines when the process has died', async () => {
    await appendFile(logFile, 'port 2375 is taken\n');
    const waited = waitWhileMoving({ ...base(), quietMs: 60_000, ready: async () => null, ticks: () => null });
    await expect(waited).rejects.toThrow(/^The endpoint did not start\..*port 2375 is taken$/s);
  });

  it('tolerates some deaths of a restarted process, but not endlessly', async () => {
    const lives = [1, null, 1, null, 1];
    const ticks = (): number | null => (lives.length > 1 ? lives.shift()! : 1);
    expect(await waitWhileMoving({ ...base(), quietMs: 60_000, deaths: 3, ready: atLook(5), ticks })).toBe('up');
    const dying = [1, null, null, 1, null, 1, null];
    const waited = waitWhileMoving({
      ...base(),
      quietMs: 60_000,
      deaths: 3,
      ready: async () => null,
      ticks: () => dying.shift() ?? null,
    });
    await expect(waited).rejects.toThrow('did not start');
  });

  it('reads the processor time of a process, null if there is none', () => {
    expect(processTicks(process.pid)).toBeGreaterThan(0);
    expect(processTicks(2 ** 30)).toBeNull();
  });
});
