/**
 * Precedence for a part of the engine while it is being started: containers wait for it, and on a busy machine it would get no more of the
 * processors than each of their virtual machines.
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
  const level = ahead ? AHEAD : USUAL;
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
