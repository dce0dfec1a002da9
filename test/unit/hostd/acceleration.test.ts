import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseAcceleration, type ProbeResult, wantedAcceleration } from '../../../src/hostd/qemu/acceleration.js';

let directory = '';
let memory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-acceleration-'));
  memory = join(directory, 'acceleration.json');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const qemu = {
  version: 'QEMU 7.2',
  reconnect: 'reconnect',
  state: 'fd',
  monitor: 'mon',
  snapshots: true,
} as const;

/** A machine on which trial boots end as given, one after the other; records the time that each was given. */
function machine(...results: ProbeResult[]) {
  const given: number[] = [];
  const start = (wanted: 'auto' | 'kvm' | 'tcg' = 'auto', version = 'QEMU 7.2', device = '/dev/null') =>
    chooseAcceleration(
      wanted,
      { ...qemu, version },
      memory,
      async (ms) => {
        given.push(ms);
        return results.shift() ?? { outcome: 'timeout' };
      },
      device,
    );
  return { given, start };
}

describe('the choice of an accelerator', () => {
  it('does not take a timeout for an answer: later starts try again, with more time', async () => {
    const { given, start } = machine({ outcome: 'timeout' }, { outcome: 'timeout' }, { outcome: 'boots' });
    expect(await start()).toMatchObject({ acceleration: 'tcg', why: expect.stringContaining('tried again') });
    expect((await start()).acceleration).toBe('tcg');
    expect((await start()).acceleration).toBe('kvm');
    expect((await start()).acceleration).toBe('kvm');
    expect(given).toHaveLength(3);
    expect(given).toEqual([...given].sort((a, b) => a - b));
    expect(given[2]).toBeGreaterThan(given[0]!);
  });

  it('remembers a failure of QEMU or the guest, for this QEMU only', async () => {
    const { given, start } = machine({ outcome: 'fails', why: 'the guest crashed' }, { outcome: 'boots' });
    const no = { acceleration: 'tcg', why: expect.stringContaining('the guest crashed') };
    expect(await start()).toMatchObject(no);
    expect(await start()).toMatchObject(no);
    expect(given).toHaveLength(1);
    expect((await start('auto', 'QEMU 10')).acceleration).toBe('kvm');
  });

  it('trusts neither a record of an earlier version nor a damaged one', async () => {
    for (const text of ['{"key":"x QEMU 7.2","acceleration":"tcg"}', '{']) {
      await writeFile(memory, text);
      expect((await machine({ outcome: 'boots' }).start()).acceleration).toBe('kvm');
    }
    expect(JSON.parse(await readFile(memory, 'utf8'))).toMatchObject({ answer: { acceleration: 'kvm' } });
  });

  it('refuses --accel kvm where it does not work, and tries again each time', async () => {
    const { given, start } = machine({ outcome: 'fails', why: 'nothing boots' }, { outcome: 'boots' });
    await expect(start('kvm')).rejects.toThrow(/--accel kvm: .*nothing boots/);
    expect((await start('kvm')).acceleration).toBe('kvm');
    expect(given).toHaveLength(2);
    await expect(start('kvm', 'QEMU 7.2', '/dev/no-such-device')).rejects.toThrow(/has no \/dev\/no-such-device/);
  });

  it('tries nothing for --accel tcg, or without the device', async () => {
    const { given, start } = machine();
    expect(await start('tcg')).toMatchObject({ acceleration: 'tcg', why: expect.stringContaining('--accel tcg') });
    expect((await start('auto', 'QEMU 7.2', '/dev/no-such-device')).acceleration).toBe('tcg');
    expect(given).toEqual([]);
  });

  it('reads --accel', () => {
    expect(wantedAcceleration('kvm')).toBe('kvm');
    expect(() => wantedAcceleration('xen')).toThrow(/kvm, tcg and auto/);
  });
});
