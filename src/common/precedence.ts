/**
 * How much of the processors a process gets beside others. A part of the engine that is being started goes ahead: containers wait for it, and
 * on a busy machine it would get no more than each of their virtual machines.
 *
 * Facts: sched(7). Linux weighs processes by their nice level only against others of the same session if it groups sessions ("autogroup",
 * usual), and all sessions by a level of their own, in /proc/<pid>/autogroup.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';

/** About nine times the weight of a process of the usual level. */
const AHEAD = -10;
const USUAL = 0;

/** Whether a process that leads a session goes before others. It stays as it is where that may not be changed. */
export function setPrecedence(pid: number, ahead: boolean): void {
  setNice(pid, ahead ? AHEAD : USUAL);
}

/** Sets the nice level of a process and of its session, which nobody else may be in. It stays as it is where that may not be changed. */
export function setNice(pid: number, level: number): void {
  try {
    // Each thread has a level, which those that it starts inherit.
    for (const thread of readdirSync(`/proc/${pid}/task`)) setPriority(Number(thread), level);
  } catch {
    // It may not be changed here, or the thread has ended.
  }
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(level));
  } catch {
    // Neither may this, or sessions are not grouped.
  }
}
