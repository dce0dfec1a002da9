/** Times in queries: unix seconds with an optional fraction, RFC 3339, or a duration before now. */
import { invalid } from '../../../src/common/errors.js';

/** Nanoseconds since 1970. @throws invalid */
export function parseTime(text: string, now = Date.now()): bigint {
  const unix = /^(-?\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (unix !== null) return BigInt(unix[1]!) * 1_000_000_000n + BigInt((unix[2] ?? '').padEnd(9, '0'));
  const duration = parseDuration(text);
  if (duration !== null) return BigInt(now - duration) * 1_000_000n;
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw invalid(`failed to parse value as time or duration: "${text}"`);
  const fraction = /\.(\d{1,9})/.exec(text)?.[1];
  return fraction === undefined
    ? BigInt(date.getTime()) * 1_000_000n
    : BigInt(Math.floor(date.getTime() / 1000)) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Unix seconds with an optional fraction, as `since` and `until` of logs must be. @throws invalid in Docker's words */
export function parseUnixTime(text: string): bigint {
  const [seconds = '', ...rest] = text.split('.');
  const fraction = rest.join('.');
  for (const part of rest.length === 0 ? [seconds] : [seconds, fraction])
    if (!/^[+-]?\d{1,18}$/.test(part)) throw invalid(`strconv.ParseInt: parsing "${part}": invalid syntax`);
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
}

const UNITS: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Go's durations, `1h30m`, in milliseconds; null for anything else. */
function parseDuration(text: string): number | null {
  if (!/^(\d+(\.\d+)?(h|ms|m|s))+$/.test(text)) return null;
  return [...text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)].reduce(
    (sum, match) => sum + Number(match[1]) * UNITS[match[2]!]!,
    0,
  );
}

/** RFC 3339 with nanoseconds, as `docker logs -t` shows it. */
export function formatTime(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19);
  return `${date}.${(ns % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}
