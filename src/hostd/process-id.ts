/** Processes that outlive hostd: known by their id and start time, since ids are used again. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that can be told from a later one of the same id. */
export interface ProcessIdentity {
  pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  startTime: string;
}

/** The identity of a running process, or null. A zombie does not run. */
export function identify(pid: number): ProcessIdentity | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : { pid, startTime: fields[19] ?? '' };
  } catch {
    return null;
  }
}

/** True while just this process runs. */
export function isRunning(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** Sends a signal if the process still runs. */
export function signal(target: ProcessIdentity, name: NodeJS.Signals, group = false): void {
  if (!isRunning(target)) return;
  try {
    process.kill(group ? -target.pid : target.pid, name);
  } catch {
    // It ended in between.
  }
}

/** Waits until the process has ended. @returns false when it still runs after `timeoutMs` */
export async function ended(process: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  for (const deadline = Date.now() + timeoutMs; isRunning(process); await sleep(3)) {
    if (Date.now() > deadline) return false;
  }
  return true;
}

/** Resident bytes and CPU seconds, or zeros. */
export function usage(pid: number): { residentBytes: number; cpuSeconds: number } {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { residentBytes: Number(fields[21]) * 4096, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100 };
  } catch {
    return { residentBytes: 0, cpuSeconds: 0 };
  }
}
