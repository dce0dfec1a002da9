import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { niceLevel, sharesInfo, sharesOf, weigh } from '../../../src/hostd/vm/cpu-shares.js';
import { loadVmx, newVmConfig, saveVmx } from '../../../src/hostd/vm/vm-config.js';

describe('CPU shares', () => {
  it.each([
    [1000, 1, 0],
    [2000, 2, 0],
    [500, 1, 3],
    [2000, 1, -3],
    [2, 1, 19],
    [0, 1, 19],
    [1_000_000, 1, -5],
  ])('%i with %i processors are nice level %i', (shares, cpus, level) => {
    expect(niceLevel(shares, cpus)).toBe(level);
  });

  it('have vSphere’s levels, and are stored with the VM', async () => {
    expect(sharesOf('custom', 700, 2)).toBe(700);
    expect(sharesOf('high', 0, 2)).toBe(4000);
    expect(sharesOf('normal', 5, 2)).toBeNull();
    expect(sharesInfo(null, 2)).toEqual({ level: 'normal', shares: 2000 });
    expect(sharesInfo(7, 2)).toEqual({ level: 'custom', shares: 7 });
    const directory = mkdtempSync(join(tmpdir(), 'caisson-shares-'));
    try {
      const path = join(directory, 'a.vmx');
      for (const cpuShares of [null, 500]) {
        await saveVmx(path, '[datastore1] a', { ...newVmConfig('a'), cpuShares });
        const read = await loadVmx(path, '[datastore1] a');
        expect(read.cpuShares).toBe(cpuShares);
        expect([...read.extraConfig.keys()]).not.toContain('sched.cpu.shares');
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('are applied to a process', () => {
    const child = spawn('sleep', ['30'], { detached: true });
    try {
      weigh(child.pid!, 500, 1);
      expect(getPriority(child.pid)).toBe(3);
      // Where Linux groups sessions, the process's own level counts for nothing beside other VMs.
      const file = `/proc/${child.pid}/autogroup`;
      const session = existsSync(file) ? readFileSync(file, 'utf8') : '';
      // It is empty where that is switched off.
      if (session !== '') expect(session).toMatch(/ nice 3$/m);
    } finally {
      child.kill();
    }
    expect(() => weigh(2 ** 30, 500, 1)).not.toThrow();
  });
});
