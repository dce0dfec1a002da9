/** Processes that outlive whoever started them: known by id and start time, since ids are reused. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that can be told from a later one of the same id. */
export interface ProcessIdentity {
  pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  startTime: string;
}

/** What there is to keep of one. */
export const identityOf = ({ pid, startTime }: ProcessIdentity): ProcessIdentity => ({ pid, startTime });

/** Clock ticks per second and bytes per page in /proc: fixed by Linux on x86-64 (USER_HZ, PAGE_SIZE). */
const TICKS = 100;
const PAGE = 4096;

/** The fields of /proc/<pid>/stat from the third (state) on; see proc(5). @throws when there is no such process */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** The identity of a running process, or null. A zombie counts as not running. */
export function identify(pid: number): ProcessIdentity | null {
  try {
    const fields = statFields(pid);
    return fields[0] === 'Z' ? null : { pid, startTime: fields[19] ?? '' };
  } catch {
    return null;
  }
}

/** The process that started it, or null. */
export function parentOf(pid: number): ProcessIdentity | null {
  try {
    return identify(Number(statFields(pid)[1]));
  } catch {
    return null;
  }
}

/** True while just this process runs. */
export function isRunning(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** When the process began, by today's wall clock. */
export function startedAt(process: ProcessIdentity): Date {
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  return new Date(Date.now() - (uptime - Number(process.startTime) / TICKS) * 1000);
}

/** The running process whose arguments contain `text`, or null. */
export function findProcess(text: string): ProcessIdentity | null {
  return findProcesses(text)[0] ?? null;
}

/** All of them. */
export function findProcesses(text: string): ProcessIdentity[] {
  return processes().flatMap((pid) => {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text)) return [];
    } catch {
      // It ended in between.
      return [];
    }
    return identify(pid) ?? [];
  });
}

/** The arguments of a process; none for one that has ended. */
export function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Effective user ids that processes have. */
export function usersOfProcesses(): Set<number> {
  return new Set(processes().flatMap((pid) => userOf(pid) ?? []));
}

/** Processes that one of these users has. */
export function processesOf(users: Set<number>): ProcessIdentity[] {
  return processes().flatMap((pid) => (users.has(userOf(pid) ?? 0) ? (identify(pid) ?? []) : []));
}

/** Processes of the group that a process led. */
export function processesOfGroup(leader: number): ProcessIdentity[] {
  return processes().flatMap((pid) => {
    try {
      return Number(statFields(pid)[2]) === leader ? (identify(pid) ?? []) : [];
    } catch {
      // It ended in between.
      return [];
    }
  });
}

/**
 * Effective user id; null if there is no such process, and for a zombie, which does nothing any more but may stay for long. This is not
 * the owner of /proc/<pid>, which is root for a process that has changed its user.
 */
function userOf(pid: number): number | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    if (/^State:\tZ/m.test(status)) return null;
    return Number(/^Uid:\t\d+\t(\d+)/m.exec(status)?.[1] ?? 0);
  } catch {
    return null;
  }
}

function processes(): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);
}

/** Sends a signal if the process still runs. */
export function signal(target: ProcessIdentity, name: NodeJS.Signals): void {
  if (isRunning(target)) send(target.pid, name);
}

/**
 * Sends a signal to the process group that the process leads, even when the leader has ended: its id is not reused as long as its group
 * has members.
 */
export function signalGroup(leader: ProcessIdentity, name: NodeJS.Signals): void {
  const now = identify(leader.pid);
  if (now === null || now.startTime === leader.startTime) send(-leader.pid, name);
}

function send(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
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
    const fields = statFields(pid);
    return {
      residentBytes: Number(fields[21]) * PAGE,
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
    };
  } catch {
    return { residentBytes: 0, cpuSeconds: 0 };
  }
}
