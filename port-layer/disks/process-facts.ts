/** What a process on this machine has used (proc(5)). */
import { readFile } from 'node:fs/promises';

/** Linux's USER_HZ, the same on all machines that Node runs on. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

export interface ProcessFacts {
  /** Processor time, in ms. */
  cpuMs: number;
  /** Resident memory, in bytes. */
  memory: number;
}

/** Null if there is no such process. */
export async function processFacts(pid: number): Promise<ProcessFacts | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The name, in parentheses, may contain anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { cpuMs: (ticks * 1000) / TICKS_PER_SECOND, memory: Number(fields[21]) * PAGE_BYTES };
  } catch {
    return null;
  }
}
