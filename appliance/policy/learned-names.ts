/** Which addresses outside names have, by the answers that containers got from the DNS server. */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { Learned } from './compile.js';
import { inRange } from './ranges.js';

/** Clients keep using an address for a while after its answer has expired. */
const LEAST_SECONDS = 30;
const EXTRA_SECONDS = 60;
const MOST_SECONDS = 86_400;
const MOST_ADDRESSES = 10_000;
const MOST_NAMES = 64;

/**
 * Nobody's service is there, whatever a name's owner says: only this machine, this network, and what clouds tell machines about themselves.
 */
const NEVER = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '168.63.129.16',
  '224.0.0.0/3',
  '::/127',
  '::ffff:0:0/96',
  'fe80::/10',
  'ff00::/8',
  'fd00:ec2::/32',
];

export interface Answer {
  name: string;
  addresses: readonly string[];
  /** Seconds. */
  ttl: number;
}

const isNever = (address: string): boolean => NEVER.some((range) => inRange(address, range));

/** Addresses, with when each of their names expires, in ms since 1970. */
const savedNames = z
  .array(
    z.tuple([
      z.string().refine((one) => isIP(one) !== 0),
      z.array(z.tuple([z.string().max(255), z.number()])).max(MOST_NAMES),
    ]),
  )
  .max(MOST_ADDRESSES);
export type SavedNames = z.output<typeof savedNames>;

/** Forgets an address when its answers have expired. Times are in milliseconds. */
export class LearnedNames {
  /** When each name of an address expires. */
  private readonly known = new Map<string, Map<string, number>>();

  /** @returns whether there is something new to tell whoever enforces it */
  hear({ name, addresses, ttl }: Answer, now: number): boolean {
    const seconds = Math.min(Math.max(ttl, LEAST_SECONDS), MOST_SECONDS);
    let news = false;
    for (const address of addresses) {
      if (isNever(address)) continue;
      const names = this.known.get(address) ?? new Map<string, number>();
      if ((names.get(name) ?? 0) >= now + seconds * 1000) continue;
      if (!names.has(name) && names.size >= MOST_NAMES) continue;
      names.set(name, now + (seconds + EXTRA_SECONDS) * 1000);
      // The one that was heard of last goes to the end.
      this.known.delete(address);
      this.known.set(address, names);
      news = true;
    }
    while (this.known.size > MOST_ADDRESSES) this.known.delete(this.known.keys().next().value!);
    return news;
  }

  /** What holds now. */
  list(now: number): Learned[] {
    const found: Learned[] = [];
    for (const [address, names] of this.known) {
      for (const [name, until] of names) if (until <= now) names.delete(name);
      if (names.size === 0) this.known.delete(address);
      else {
        const first = Math.min(...names.values());
        found.push({ address, names: [...names.keys()].sort(), seconds: Math.max(1, Math.ceil((first - now) / 1000)) });
      }
    }
    return found;
  }

  /** The names of an address. */
  namesOf(address: string, now: number): string[] {
    return [...(this.known.get(address) ?? [])].filter(([, until]) => until > now).map(([name]) => name);
  }

  /** All of it, for {@link restore}. */
  save(): SavedNames {
    return [...this.known].map(([address, names]) => [address, [...names]]);
  }

  /** What an earlier process saved. Whatever is no such thing is passed over: a few names are asked for again then. */
  restore(saved: unknown, now: number): void {
    const read = savedNames.safeParse(saved);
    for (const [address, names] of read.success ? read.data : []) {
      const valid = names.filter(([, until]) => until > now && until <= now + (MOST_SECONDS + EXTRA_SECONDS) * 1000);
      if (valid.length > 0 && !isNever(address)) this.known.set(address, new Map(valid));
    }
  }
}
