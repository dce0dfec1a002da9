/** The memory use of the processes of an engine under test. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Stack } from './stack.js';

/** Resident megabytes by process: `supervisor`, `hostd`, `endpoint`, and each `qemu` by its VM's name. */
export type Memory = Record<string, number>;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended.
    return '';
  }
}

/** The name of a process of this engine; null if it is not one. */
function nameOf(pid: string, { paths }: Stack): string | null {
  const [program = '', ...args] = read(`/proc/${pid}/cmdline`).split('\0');
  const belongs = (text: string): boolean => text.includes(`${paths.stateDir}`) || text.includes(`${paths.runDir}/`);
  if (program.endsWith('qemu-system-x86_64')) return args.some(belongs) ? `qemu ${args[1] ?? ''}` : null;
  if (args[0]?.endsWith('/hostd/main.js')) return args.some(belongs) ? 'hostd' : null;
  if (args.some((arg) => arg.endsWith('/supervisor/main.js'))) return args.some(belongs) ? 'supervisor' : null;
  if (args[0]?.endsWith('/appliance/main.js')) return belongs(read(`/proc/${pid}/environ`)) ? 'endpoint' : null;
  return null;
}

/** The current memory use of each. */
export function engineMemory(stack: Stack): Memory {
  const memory: Memory = {};
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const name = nameOf(pid, stack);
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(name === null ? '' : read(`/proc/${pid}/status`))?.[1];
    // A starting process is first a copy of its parent, with the same name and less memory.
    if (name !== null && kilobytes !== undefined) memory[name] = Math.max(memory[name] ?? 0, Number(kilobytes) / 1024);
  }
  return memory;
}

/** The peak growth in megabytes of each existing process while `body` ran. */
export async function growthDuring(stack: Stack, body: () => Promise<void>): Promise<Memory> {
  const before = engineMemory(stack);
  const growth: Memory = Object.fromEntries(Object.keys(before).map((name) => [name, 0]));
  const look = (): void => {
    for (const [name, now] of Object.entries(engineMemory(stack)))
      if (before[name] !== undefined) growth[name] = Math.max(growth[name] ?? 0, now - before[name]);
  };
  const timer = setInterval(look, 100);
  try {
    await body();
    look();
  } finally {
    clearInterval(timer);
  }
  return growth;
}
