/**
 * Waits for a process of the engine to come up, however long that takes on a slow or busy machine. The wait ends when the process is up,
 * has died, or has neither used the processor nor written to its log for a long time.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { timeout, unavailable } from '../common/errors.js';

/** A process that does nothing for so long hangs. */
const QUIET_MS = 120_000;
/** Processor time that counts as moving, in clock ticks of 10 ms: a process that only waits uses a little, too. */
const MOVING_TICKS = 20;
const POLL_MS = 40;
const SHOW_MS = 2000;
const LAST_WORDS_BYTES = 16 * 1024;

/** What is waited for, and how to tell that it is making progress. */
export interface Starting<T> {
  /** For people: "the embedded host". */
  what: string;
  logFile: string;
  /** How much of the log belongs to earlier runs, in bytes. */
  logFrom?: number;
  /** What is waited for; null while it is not there. */
  ready(): Promise<T | null>;
  /** Processor time used so far in clock ticks; null when the process does not run. */
  ticks(): number | null;
  /** How often the process may be found dead, if something restarts it. */
  deaths?: number;
  quietMs?: number;
}

/**
 * Waits.
 * @param progress called with what the process is doing when the wait takes long
 * @throws unavailable when it died, timeout when nothing moves; both with the end of its log
 */
export async function waitWhileMoving<T>(
  starting: Starting<T>,
  progress: (detail: string) => void = () => undefined,
): Promise<T> {
  const began = Date.now();
  const { what, logFile, quietMs = QUIET_MS } = starting;
  let moved = { at: began, ticks: 0, size: -1 };
  let shown = began;
  let said = '';
  let lived = true;
  let deaths = 0;
  for (;;) {
    const ready = await starting.ready();
    if (ready !== null) return ready;
    const ticks = starting.ticks();
    if (ticks !== null) lived = true;
    else if (lived) {
      lived = false;
      deaths++;
    }
    if (deaths >= (starting.deaths ?? 1)) {
      // It may have been up for a moment, or have said why it ended.
      const late = await starting.ready();
      if (late !== null) return late;
      throw unavailable(`${capital(what)} did not start. The end of ${logFile}:\n${lastWords(logFile)}`);
    }
    const now = Date.now();
    const size = sizeOf(logFile);
    if (size !== moved.size || Math.abs((ticks ?? moved.ticks) - moved.ticks) >= MOVING_TICKS)
      moved = { at: now, ticks: ticks ?? moved.ticks, size };
    if (now - moved.at > quietMs)
      throw timeout(
        `${capital(what)} has not come up, and has done nothing for ${Math.round(quietMs / 1000)} s. The end of ${logFile}:\n${lastWords(logFile)}`,
      );
    if (now - shown > SHOW_MS) {
      shown = now;
      const doing = latest(logFile, starting.logFrom ?? 0) ?? 'starting';
      if (doing !== said) progress(doing);
      said = doing;
    }
    await sleep(POLL_MS);
  }
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The end of a log as text; empty for none. */
function end(path: string, from: number): string {
  const size = sizeOf(path);
  const start = Math.max(from, size - LAST_WORDS_BYTES);
  if (size <= start) return '';
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(size - start);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, start)).toString();
  } finally {
    closeSync(file);
  }
}

/** The last lines of a log. */
export function lastWords(path: string): string {
  return end(path, 0).trim().split('\n').slice(-10).join('\n');
}

/** The message of a log's last line. */
function latest(path: string, from: number): string | null {
  const line = end(path, from).trim().split('\n').at(-1) ?? '';
  try {
    const { msg } = JSON.parse(line) as { msg?: unknown };
    return typeof msg === 'string' ? msg : null;
  } catch {
    return line === '' ? null : line.slice(0, 200);
  }
}

/** Processor time of a process in clock ticks; null when there is none, or it is a zombie. See proc(5). */
export function processTicks(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : Number(fields[11]) + Number(fields[12]);
  } catch {
    return null;
  }
}

/** Processor time of a process and its children in clock ticks; null when there is no such process. */
export function familyTicks(pid: number): number | null {
  const own = processTicks(pid);
  if (own === null) return null;
  let children = '';
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  } catch {
    // It has ended, or this kernel does not tell.
  }
  const pids = children.trim().split(' ').filter(Boolean).map(Number);
  return pids.reduce((sum, child) => sum + (processTicks(child) ?? 0), own);
}
