/** The header `X-Docker-Container-Path-Stat`: base64 of JSON, with the mode as Go's `os.FileMode` has it. */
import type { PathStat } from '../../../port-layer/index.js';

export const PATH_STAT_HEADER = 'X-Docker-Container-Path-Stat';

/** The type bits of `st_mode`, and the bits of Go's `os.FileMode` (package io/fs) for each. */
const KINDS = new Map<number, number>([
  [0o040000, 2 ** 31],
  [0o120000, 2 ** 27],
  [0o060000, 2 ** 26],
  [0o020000, 2 ** 26 + 2 ** 21],
  [0o010000, 2 ** 25],
  [0o140000, 2 ** 24],
]);

/** Converts a `st_mode` to Go's file mode. */
export function goFileMode(mode: number): number {
  const kind = KINDS.get(mode & 0o170000) ?? 0;
  const setuid = mode & 0o4000 ? 2 ** 23 : 0;
  const setgid = mode & 0o2000 ? 2 ** 22 : 0;
  const sticky = mode & 0o1000 ? 2 ** 20 : 0;
  return kind + setuid + setgid + sticky + (mode & 0o777);
}

/** The header's value. */
export function pathStatHeader({ name, size, mode, mtime, linkTarget }: PathStat): string {
  const stat = { name, size, mode: goFileMode(mode), mtime: rfc3339(mtime), linkTarget };
  return Buffer.from(JSON.stringify(stat)).toString('base64');
}

/** RFC 3339 as Go prints a time: the fraction has no trailing zeros. */
function rfc3339({ sec, nsec }: PathStat['mtime']): string {
  const date = new Date(sec * 1000);
  const whole = Number.isNaN(date.getTime()) ? '1970-01-01T00:00:00' : date.toISOString().slice(0, 19);
  const fraction = nsec === 0 ? '' : `.${String(nsec).padStart(9, '0').replace(/0+$/, '')}`;
  return `${whole}${fraction}Z`;
}
