/** What servers have said and may be told again. Bounded in number and size; the oldest goes first. */
import type { Kept } from './reply.js';
import { FLAG, type Message, negativeTtl, RCODE, rcodeOf, TYPE } from './wire.js';

const MAX_ANSWERS = 10_000;
const MAX_BYTES = 8 * 1024 * 1024;
/** Longer than this nothing is believed, in seconds; an absence not so long (RFC 2308, section 5). */
const LONGEST = 86_400;
const LONGEST_ABSENCE = 3600;

/** For how many seconds an answer may be told again; 0: not at all. Pure. */
export function keptFor(message: Message): number {
  if ((message.flags & FLAG.truncated) !== 0) return 0;
  const rcode = rcodeOf(message);
  const answers = message.records.filter(({ section }) => section === 'answer');
  if (rcode !== RCODE.none && rcode !== RCODE.nxDomain) return 0;
  const ttls = answers.map(({ ttl }) => ttl);
  // Names that lead to one that does not exist, or has no such record: what they say is valid as long as all of it is.
  const absent = rcode === RCODE.nxDomain || answers.every(({ type }) => type === TYPE.CNAME);
  if (!absent) return Math.min(LONGEST, ...ttls);
  return Math.min(LONGEST_ABSENCE, negativeTtl(message), ...ttls);
}

export class AnswerCache {
  private readonly answers = new Map<string, { kept: Kept; until: number }>();
  private bytes = 0;

  /** @param now in ms */
  get(key: string, now: number): Kept | undefined {
    const found = this.answers.get(key);
    if (found === undefined) return undefined;
    if (found.until > now) return found.kept;
    this.delete(key);
    return undefined;
  }

  set(key: string, kept: Kept): void {
    this.delete(key);
    const seconds = keptFor(kept.message);
    if (seconds === 0) return;
    this.answers.set(key, { kept, until: kept.at + seconds * 1000 });
    this.bytes += size(key, kept);
    for (const oldest of this.answers.keys()) {
      if (this.answers.size <= MAX_ANSWERS && this.bytes <= MAX_BYTES) break;
      this.delete(oldest);
    }
  }

  private delete(key: string): void {
    const found = this.answers.get(key);
    if (found === undefined) return;
    this.answers.delete(key);
    this.bytes -= size(key, found.kept);
  }
}

/** Its records are read once and take room too. */
const size = (key: string, { message }: Kept): number =>
  key.length + message.wire.length + 100 * message.records.length;
