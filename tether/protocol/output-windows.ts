/**
 * How much output each session of a connection may still send. The guest counts as well (`tether/guest/session.c`); counting here exposes a
 * guest that exceeds its window.
 */
import { OUTPUT_WINDOW } from './frames.js';

/** The most sessions open on one connection: each may have a window of output in transit. */
export const MAX_SESSIONS = 1024;

interface Session {
  /** Bytes. */
  left: number;
  /** Subscriptions that the guest has not acknowledged yet: until it does, it spends what was granted before. */
  subscribing: number;
  /** Bytes granted since the first of these was sent. */
  since: number;
  started: boolean;
}

/** The sessions of one connection; the container's first process is always among them. */
export class OutputWindows {
  private readonly sessions = new Map<number, Session>();
  private firstEnded = false;

  constructor() {
    this.sessions.set(0, { left: 0, subscribing: 0, since: 0, started: false });
  }

  get full(): boolean {
    return this.sessions.size > MAX_SESSIONS;
  }

  has(session: number): boolean {
    return this.sessions.has(session);
  }

  /** A process was asked for: it may send a window of output as soon as it runs. */
  open(session: number): void {
    this.sessions.set(session, { left: OUTPUT_WINDOW, subscribing: 0, since: 0, started: false });
  }

  /** A session of an earlier connection, which may have ended meanwhile. It sends nothing until somebody subscribes. */
  adopt(session: number): void {
    if (!this.sessions.has(session)) this.sessions.set(session, { left: 0, subscribing: 0, since: 0, started: false });
  }

  /** A subscription was sent, which makes the window start afresh. */
  subscribe(session: number): void {
    this.adopt(session);
    const one = this.sessions.get(session)!;
    if (one.subscribing++ === 0) one.since = 0;
  }

  /** The guest has acknowledged a subscription. False: there was none. */
  subscribed(session: number): boolean {
    const one = this.sessions.get(session);
    if (one === undefined || one.subscribing === 0) return false;
    one.subscribing--;
    one.left = OUTPUT_WINDOW + one.since;
    return true;
  }

  /** More was granted. False: the session has ended. */
  credit(session: number, bytes: number): boolean {
    const one = this.sessions.get(session);
    if (one === undefined) return false;
    one.left += bytes;
    if (one.subscribing > 0) one.since += bytes;
    return true;
  }

  /** Output has arrived. @returns what is wrong with that; null: nothing */
  take(session: number, bytes: number): string | null {
    const one = this.sessions.get(session);
    if (one === undefined) return 'it sent output of a session that does not exist';
    if (bytes === 0) return 'it sent output without content';
    if (session === 0 && this.firstEnded) return 'it sent output of a process that has ended';
    if (bytes > one.left) return 'it sent more output than it was granted';
    one.left -= bytes;
    return null;
  }

  /** The guest says that a process runs. @returns what is wrong with that; null: nothing */
  started(session: number): string | null {
    const one = this.sessions.get(session);
    if (one === undefined) return null;
    if (one.started || (session === 0 && this.firstEnded)) return 'it said twice that a process runs';
    one.started = true;
    return null;
  }

  /** The guest says that a process has ended, or could not start. @returns what is wrong with that; null: nothing */
  ended(session: number): string | null {
    if (session === 0) {
      if (this.firstEnded) return 'it said twice that a process has ended';
      this.firstEnded = true;
    } else this.sessions.delete(session);
    return null;
  }
}
