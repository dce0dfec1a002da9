/**
 * What a container uses, from the files of its control group in the guest (Documentation/admin-guide/cgroup-v2.rst) and of /proc. A hostile
 * guest can do no more than lie about itself: anything but a number counts as 0, texts are cut off, and parsing takes time in proportion to
 * their length (no regular expression backtracks).
 */
import { type Facts, MAX_TEXT } from '../../tether/protocol/observation.js';
import type { NetworkUsage, ResourceUsage } from './types.js';

const MAX_CARDS = 64;
const MAX_DISKS = 64;
const MAX_KEYS = 200;
const NAME = /^[\w.:-]{1,15}$/;

/** @param at when it was asked for */
export function parseUsage(facts: Facts, at: Date): ResourceUsage {
  const cpu = keyed(facts, 'cpu.stat');
  const limit = text(facts, 'memory.max');
  const pids = text(facts, 'pids.max');
  return {
    at,
    cpus: Math.max(1, number(text(facts, 'cpus'))),
    uptimeNs: number(text(facts, 'uptime')),
    cpu: {
      totalNs: (cpu.usage_usec ?? 0) * 1000,
      userNs: (cpu.user_usec ?? 0) * 1000,
      systemNs: (cpu.system_usec ?? 0) * 1000,
      periods: cpu.nr_periods ?? 0,
      throttledPeriods: cpu.nr_throttled ?? 0,
      throttledNs: (cpu.throttled_usec ?? 0) * 1000,
    },
    memory: {
      usage: number(text(facts, 'memory.current')),
      limit: limit === 'max' ? totalMemory(facts) : number(limit),
      stat: keyed(facts, 'memory.stat'),
    },
    pids: { current: number(text(facts, 'pids.current')), limit: pids === 'max' ? null : number(pids) },
    networks: networks(text(facts, 'net')),
    disks: disks(text(facts, 'io.stat')),
  };
}

/** The VM's memory in bytes. */
export function totalMemory(facts: Facts): number {
  return number(kibIn(text(facts, 'meminfo'), 'MemTotal')) * 1024;
}

/** @param most bytes to read: the guest's observer sends no more than that */
export function text(facts: Facts, name: string, most = MAX_TEXT): string {
  return (facts.get(name)?.toString('utf8', 0, most) ?? '').trim();
}

/** The number of KiB in a line of meminfo or of a process's status; undefined if there is no such line. */
export function kibIn(table: string, name: string): string | undefined {
  return valueIn(table, name)?.split(' ', 1)[0];
}

/** What follows a name and a colon at the beginning of a line. */
export function valueIn(table: string, name: string): string | undefined {
  const lines = `\n${table}`;
  const at = lines.indexOf(`\n${name}:`);
  if (at < 0) return undefined;
  const end = lines.indexOf('\n', at + 1);
  return lines.slice(at + name.length + 2, end < 0 ? lines.length : end).trim();
}

export function number(value: string | undefined): number {
  const parsed = /^\d{1,19}$/.test(value ?? '') ? Number(value) : 0;
  return Number.isSafeInteger(parsed) ? parsed : 0;
}

/** Lines that consist of a name and a number. */
function keyed(facts: Facts, name: string): Record<string, number> {
  const lines = text(facts, name)
    .split('\n', MAX_KEYS)
    .map((line) => line.split(' ', 2));
  return Object.fromEntries(
    lines.flatMap(([key = '', value]) => (/^[a-z]\w{0,40}$/.test(key) ? [[key, number(value)]] : [])),
  );
}

/** /proc/net/dev: two header lines; then per line a name, eight numbers for receiving and eight for sending. */
function networks(table: string): Record<string, NetworkUsage> {
  const cards: Record<string, NetworkUsage> = Object.create(null) as Record<string, NetworkUsage>;
  for (const line of table.split('\n', 2 + MAX_CARDS).slice(2)) {
    const [name = '', numbers = ''] = line.trim().split(/:\s*/, 2);
    if (!NAME.test(name) || name === 'lo') continue;
    const n = numbers.split(/\s+/).map(number);
    cards[name] = {
      rxBytes: n[0] ?? 0,
      rxPackets: n[1] ?? 0,
      rxErrors: n[2] ?? 0,
      rxDropped: n[3] ?? 0,
      txBytes: n[8] ?? 0,
      txPackets: n[9] ?? 0,
      txErrors: n[10] ?? 0,
      txDropped: n[11] ?? 0,
    };
  }
  return cards;
}

/** io.stat: `254:0 rbytes=… wbytes=… rios=… wios=… dbytes=… dios=…` */
function disks(table: string): ResourceUsage['disks'] {
  return table.split('\n', MAX_DISKS).flatMap((line) => {
    const match = /^(\d{1,4}):(\d{1,7}) (.*)$/.exec(line);
    if (match === null) return [];
    const values = new Map(match[3]!.split(' ').map((part) => part.split('=', 2) as [string, string]));
    const value = (key: string): number => number(values.get(key));
    return [
      {
        major: Number(match[1]),
        minor: Number(match[2]),
        readBytes: value('rbytes'),
        writtenBytes: value('wbytes'),
        reads: value('rios'),
        writes: value('wios'),
      },
    ];
  });
}
