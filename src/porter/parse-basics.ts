/** The small parts of what an endpoint says. */
import { isIP } from 'node:net';

/** No name or address is longer (a DNS name: RFC 1035, 2.3.4). */
const MAX_TEXT = 255;

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
export const isPort = (value: unknown): value is number => isCount(value) && value <= 65_535;
export const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= MAX_TEXT;
/** A scope (`fe80::1%eth0`) is no part of an address here: it would name a card of whoever reads it. */
export const isAddress = (value: unknown): value is string =>
  isText(value) && isIP(value) !== 0 && !value.includes('%');

/** The fields of an object; null for anything else. */
export function record(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

/** A list of such texts, of at most `most`. */
export function isList(value: unknown, is: (one: unknown) => one is string, most: number): value is string[] {
  return Array.isArray(value) && value.length <= most && value.every(is);
}
