/** The filter under which a VM is resumed, with a program that punches holes as QEMU does. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { underMemoryFilter } from '../../../src/hostd/qemu/memory-filter.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-filter-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** fallocate(1), on a file of 64 KiB of `x`. */
function fallocate(filtered: boolean, ...args: string[]): { content: string; size: number } {
  const file = join(directory, 'file');
  writeFileSync(file, 'x'.repeat(65_536));
  const command = ['fallocate', ...args, file];
  const [program, ...rest] = filtered ? underMemoryFilter(command) : command;
  execFileSync(program!, rest);
  return { content: readFileSync(file, 'latin1'), size: statSync(file).size };
}

// Without rights a filter needs more than QEMU's starter does.
describe.runIf(process.getuid?.() === 0)('the memory filter', () => {
  const punch = ['--punch-hole', '--offset', '0', '--length', '65536'];

  it('lets punching a hole succeed, and do nothing', () => {
    expect(fallocate(false, ...punch).content).toBe('\0'.repeat(65_536));
    expect(fallocate(true, ...punch).content).toBe('x'.repeat(65_536));
  });

  it('leaves everything else as it is', () => {
    expect(fallocate(true, '--length', '131072').size).toBe(131_072);
    expect(fallocate(true, '--zero-range', '--offset', '0', '--length', '4096').content.slice(0, 4096)).toBe(
      '\0'.repeat(4096),
    );
  });

  it('is in place of nothing: the program is the same process', () => {
    const [program, ...rest] = underMemoryFilter(['sh', '-c', 'echo $$; grep Seccomp: /proc/self/status']);
    expect(execFileSync(program!, rest, { encoding: 'utf8' })).toMatch(/^\d+\nSeccomp:\t2\n$/);
  });

  it('says why a program cannot be run', () => {
    const [program, ...rest] = underMemoryFilter(['/no/such/program']);
    expect(() => execFileSync(program!, rest, { stdio: 'pipe' })).toThrow(/\/no\/such\/program: No such file/);
  });
});
