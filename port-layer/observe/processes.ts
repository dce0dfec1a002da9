/** A container's processes, from the guest's /proc (proc(5)). A hostile guest may make up what it likes, within limits. */
import { type Facts, MAX_ARGUMENTS, MAX_STAT, MAX_STATUS } from '../../tether/protocol/observation.js';
import type { GuestProcess, ProcessList } from './types.js';
import { kibIn, number, text, totalMemory, valueIn } from './usage.js';

/** The most fields of `stat` that are read. */
const MAX_FIELDS = 64;
const NS_PER_SECOND = 1e9;

/** @param at when they were asked for */
export function parseProcesses(facts: Facts, at: Date): ProcessList {
  const clock = {
    tick: number(text(facts, 'tick')) || 100,
    page: number(text(facts, 'page')) || 4096,
    uptime: number(text(facts, 'uptime')) / NS_PER_SECOND,
    now: milliseconds(text(facts, 'time')),
  };
  const processes: GuestProcess[] = [];
  for (const [name, stat] of facts) {
    const pid = /^(\d{1,9})\/stat$/.exec(name)?.[1];
    if (pid === undefined) continue;
    const process = parseProcess(facts, pid, stat.toString('utf8', 0, MAX_STAT), clock);
    if (process !== null) processes.push(process);
  }
  processes.sort((a, b) => a.pid - b.pid);
  return {
    at,
    memoryBytes: totalMemory(facts),
    users: names(text(facts, 'passwd')),
    groups: names(text(facts, 'group')),
    processes,
  };
}

/** From nanoseconds, which can exceed the range of a number. */
function milliseconds(ns: string): number {
  return /^\d{1,19}$/.test(ns) ? Number(BigInt(ns) / 1_000_000n) : 0;
}

interface Clock {
  /** Ticks per second. */
  tick: number;
  page: number;
  /** Seconds. */
  uptime: number;
  /** Unix ms. */
  now: number;
}

/** Null for a process that ended while it was being read. */
function parseProcess(facts: Facts, pid: string, stat: string, clock: Clock): GuestProcess | null {
  // The name may contain anything, even brackets: the last one ends it.
  const [open, close] = [stat.indexOf('('), stat.lastIndexOf(')')];
  if (open < 0 || close < open) return null;
  const fields = stat
    .slice(close + 1)
    .trim()
    .split(' ', MAX_FIELDS);
  const field = (index: number): number => {
    const value = Number(fields[index]);
    return Number.isSafeInteger(value) ? value : 0;
  };
  const status = text(facts, `${pid}/status`, MAX_STATUS);
  const ids = (name: string): number[] => (valueIn(status, name) ?? '').split('\t', 4).map(number);
  const [uid = 0, euid = 0] = ids('Uid');
  const [gid = 0, egid = 0] = ids('Gid');
  const age = Math.max(0, clock.uptime - field(19) / clock.tick);
  return {
    pid: Number(pid),
    ppid: field(1),
    pgrp: field(2),
    session: field(3),
    tty: field(4),
    tpgid: field(5),
    state: /^[A-Za-z]$/.test(fields[0] ?? '') ? fields[0]! : '?',
    comm: stat.slice(open + 1, close),
    args: commandLine(facts.get(`${pid}/cmdline`)),
    uid,
    euid,
    gid,
    egid,
    flags: field(6),
    minorFaults: field(7),
    majorFaults: field(9),
    cpuSeconds: (field(11) + field(12)) / clock.tick,
    priority: field(15),
    nice: field(16),
    threads: field(17),
    startedAt: new Date(clock.now - age * 1000),
    ageSeconds: age,
    virtualBytes: field(20),
    residentBytes: field(21) * clock.page,
    lockedBytes: number(kibIn(status, 'VmLck')) * 1024,
    processor: field(36),
    rtPriority: field(37),
    policy: field(38),
  };
}

/** Each argument ends with NUL. A process may have overwritten them with a single text. */
function commandLine(bytes: Buffer | undefined): string[] {
  let end = Math.min(bytes?.length ?? 0, MAX_ARGUMENTS);
  while (end > 0 && bytes![end - 1] === 0) end--;
  return end === 0 ? [] : bytes!.toString('utf8', 0, end).split('\0');
}

/** Names by number, from the lines `name:password:number:…` of passwd(5) and group(5). */
function names(table: string): Map<number, string> {
  const result = new Map<number, string>();
  for (const line of table.split('\n')) {
    const [name = '', , id = ''] = line.split(':', 3);
    if (name !== '' && /^\d{1,10}$/.test(id) && !result.has(Number(id))) result.set(Number(id), name);
  }
  return result;
}
