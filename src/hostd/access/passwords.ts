/** Users' passwords: kept as scrypt hashes, and checked without letting strangers use up the machine's time. */
import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { fault } from '../faults.js';

const derive = promisify<string, Buffer, number, Buffer>(scrypt);
const KEY_BYTES = 32;
/** How many attempts may wait for their turn; more are turned away. */
const MAX_WAITING = 20;

/** A stored password. Both members are base64. */
export interface PasswordHash {
  salt: string;
  hash: string;
}

/** @param password at least one character */
export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(16);
  return { salt: salt.toString('base64'), hash: (await derive(password, salt, KEY_BYTES)).toString('base64') };
}

/**
 * Checks passwords, one at a time. A password that was right once is recognised by a keyed digest in memory, so the expensive hash is
 * computed once per user and not once per login.
 */
export class PasswordChecks {
  private readonly key = randomBytes(32);
  private readonly proven = new Map<string, { salt: string; digest: Buffer }>();
  private queue: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  /** @throws RequestCanceled when too many wait already */
  async matches(user: string, password: string, kept: PasswordHash): Promise<boolean> {
    const digest = createHmac('sha256', this.key).update(password).digest();
    const known = this.proven.get(user);
    // The salt differs if the password was changed while an attempt with the old one was under way.
    if (known?.salt === kept.salt) return timingSafeEqual(known.digest, digest);
    if (this.waiting >= MAX_WAITING)
      throw fault('RequestCanceled', 'Too many logins are under way. Try again in a while.');
    this.waiting++;
    const turn = this.queue.then(() => derive(password, Buffer.from(kept.salt, 'base64'), KEY_BYTES));
    this.queue = turn.catch(() => undefined);
    const right = timingSafeEqual(await turn.finally(() => this.waiting--), Buffer.from(kept.hash, 'base64'));
    if (right) this.proven.set(user, { salt: kept.salt, digest });
    return right;
  }

  /** Call this when a user's password changes or the user is removed. */
  forget(user: string): void {
    this.proven.delete(user);
  }
}
