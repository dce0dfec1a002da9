/**
 * What hostd holds in memory for each user: unread answers, request bodies, filters, views, search results. Each of these is bounded where
 * it is made; their sum is bounded here, so that an endpoint that was taken over cannot fill hostd's memory.
 */
import { fault } from '../faults.js';

/** Most memory for one user. Endpoints take a few MiB. */
const MAX_BYTES = 128 * 2 ** 20;
/** What a value or an object takes in addition to its text. */
const NODE_BYTES = 64;

/** Releases what was taken. A second call does nothing. */
export type Release = () => void;

export const NOTHING_HELD: Release = () => undefined;

/** Keeps the sums. */
export class Holdings {
  private readonly sums = new Map<string, number>();

  constructor(private readonly maxBytes = MAX_BYTES) {}

  /** @throws LimitExceeded when the user has too much already */
  take(user: string, bytes: number): Release {
    const sum = (this.sums.get(user) ?? 0) + bytes;
    if (sum > this.maxBytes) throw tooMuch(this.maxBytes);
    this.sums.set(user, sum);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const rest = (this.sums.get(user) ?? 0) - bytes;
      if (rest > 0) this.sums.set(user, rest);
      else this.sums.delete(user);
    };
  }

  /** Bytes taken by a user. */
  of(user: string): number {
    return this.sums.get(user) ?? 0;
  }
}

/** The fault for a caller that asks for more than is allowed. */
export function tooMuch(limit: number, what = 'what this user has open'): Error {
  return fault('LimitExceeded', `The limit is exceeded: ${what} is bounded`, {
    property: what.slice(0, 80),
    limit: Math.min(limit, 2 ** 31 - 1),
  });
}

/** Roughly the memory that a value takes. Counting stops above `most`. */
export function sizeOf(value: unknown, most = Number.POSITIVE_INFINITY): number {
  let bytes = 0;
  const todo: unknown[] = [value];
  while (todo.length > 0 && bytes <= most) {
    const one = todo.pop();
    bytes += NODE_BYTES;
    if (typeof one === 'string') bytes += one.length;
    else if (Buffer.isBuffer(one)) bytes += one.length;
    else if (Array.isArray(one)) for (const inner of one) todo.push(inner);
    else if (typeof one === 'object' && one !== null && !(one instanceof Date)) todo.push(...Object.values(one));
  }
  return bytes;
}
