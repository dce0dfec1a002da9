/**
 * Tells a process that no longer does anything from one that a busy machine keeps waiting. It checks every now and then when the process
 * last said that its event loop turns (`src/common/heartbeat.ts`) and what the kernel says of its main thread meanwhile.
 */
import { readFileSync, statSync } from 'node:fs';
import { type ProcessIdentity, startedAt } from './process-id.js';

/** A process that has been silent for so long is given up, unless the machine is to blame. */
export const HANG_MS = 30_000;
/** One that waits for a processor or a disk is given up after so many times that, whatever the machine does. */
const BUSY_FACTOR = 10;
/** For a process that has not sent a heartbeat yet: it is being loaded. */
const START_FACTOR = 20;
/** A main thread that has used this part of that time on a processor is in an endless loop. */
const CIRCLE = 0.8;
const TICK_MS = 10;

/** What is known of a process at one moment. */
export interface Sight {
  /** When it last sent a heartbeat, in ms since 1970; null: it never does, so it is not watched. */
  beat: number | null;
  /** Of its main thread; see proc(5). */
  state: string;
  /** Processor time of its main thread in clock ticks. */
  ticks: number;
}

/** Of one process. */
export class Watchdog {
  private last: { at: number; sight: Sight } | null = null;
  private quietMs = 0;
  private stillMs = 0;
  private ticks = 0;

  /**
   * @param began when the process did, in ms since 1970
   * @param everyMs how often it is looked at
   */
  constructor(
    private readonly began: number,
    private readonly everyMs: number,
    private readonly hangMs = HANG_MS,
  ) {}

  /**
   * Notes what is seen now.
   * @param now of a clock that does not jump, in ms
   * @returns why the process is to be given up; null: it is not
   */
  look(now: number, sight: Sight): string | null {
    const { last } = this;
    this.last = { at: now, sight };
    if (last === null || sight.beat === null || sight.beat !== last.sight.beat) {
      [this.quietMs, this.stillMs, this.ticks] = [0, 0, sight.ticks];
      return null;
    }
    // If the watcher was kept waiting itself, so was the process.
    const passed = Math.min(now - last.at, 2 * this.everyMs);
    this.quietMs += passed;
    // Stopped, or waiting for something other than the next event: otherwise it would have run.
    this.stillMs =
      (sight.state === 'S' || sight.state === 'T') && sight.ticks === last.sight.ticks ? this.stillMs + passed : 0;
    return this.verdict(sight);
  }

  private verdict(sight: Sight): string | null {
    const { quietMs, hangMs } = this;
    const seconds = Math.round(quietMs / 1000);
    const usedMs = (sight.ticks - this.ticks) * TICK_MS;
    const still = this.stillMs > hangMs;
    if (still && sight.state === 'T') return `it has been stopped for ${seconds} s`;
    if ((sight.beat ?? 0) < this.began)
      return quietMs > hangMs * START_FACTOR ? `it did not come up within ${seconds} s` : null;
    if (quietMs <= hangMs) return null;
    if (still) return `it has done nothing for ${seconds} s`;
    if (usedMs > hangMs * CIRCLE) return `it has gone round in a circle for ${seconds} s`;
    return quietMs > hangMs * BUSY_FACTOR ? `it has not got anywhere for ${seconds} s` : null;
  }
}

/** Looks at a running process. @returns null when there is none */
export function sightOf(pid: number, beatFile: string): Sight | null {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const beat = statSync(beatFile, { throwIfNoEntry: false })?.mtimeMs ?? null;
    return { beat, state: fields[0] ?? '', ticks: Number(fields[11]) + Number(fields[12]) };
  } catch {
    return null;
  }
}

/** Watches a process until the watch is stopped or the process is given up. @param givenUp told why, once */
export function watchOver(
  process: ProcessIdentity,
  beatFile: string,
  givenUp: (why: string) => void,
  hangMs = HANG_MS,
): { stop(): void } {
  const everyMs = Math.min(2000, hangMs / 4);
  const watchdog = new Watchdog(startedAt(process).getTime(), everyMs, hangMs);
  const timer = setInterval(() => {
    const sight = sightOf(process.pid, beatFile);
    const why = sight === null ? null : watchdog.look(performance.now(), sight);
    if (why === null) return;
    clearInterval(timer);
    givenUp(why);
  }, everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
