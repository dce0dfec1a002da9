/**
 * What each session of a connection may still send: the guest counts the same (`tether/guest/session.c`), and this is why a guest that
 * does not is found out.
 */
import { OUTPUT_WINDOW } from './frames.js';

/** Sessions that are open on one connection at most: each may have a window's output on the way. */
export const MAX_SESSIONS = 1024;

interface Session {
  /** Bytes. */
  left: number;
  /** Subscriptions that the guest has not acknowledged: what it sends until then was granted before. */
  subscribing: number;
  /** Granted since the first of them was sent. */
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

  /** A process is asked for: it may send a window as soon as it runs. */
  open(session: number): void {
    this.sessions.set(session, { left: OUTPUT_WINDOW, subscribing: 0, since: 0, started: false });
  }

  /** One of a connection before this one, which may have ended meanwhile: it sends nothing until it is subscribed to. */
  adopt(session: number): void {
    if (!this.sessions.has(session)) this.sessions.set(session, { left: 0, subscribing: 0, since: 0, started: false });
  }

  /** A subscription is sent: with it the window begins afresh. */
  subscribe(session: number): void {
    this.adopt(session);
    const one = this.sessions.get(session)!;
    if (one.subscribing++ === 0) one.since = 0;
  }

  /** The guest has taken a subscription in; false: there was none. */
  subscribed(session: number): boolean {
    const one = this.sessions.get(session);
    if (one === undefined || one.subscribing === 0) return false;
    one.subscribing--;
    one.left = OUTPUT_WINDOW + one.since;
    return true;
  }

  /** More is granted; false: the session has ended. */
  credit(session: number, bytes: number): boolean {
    const one = this.sessions.get(session);
    if (one === undefined) return false;
    one.left += bytes;
    if (one.subscribing > 0) one.since += bytes;
    return true;
  }

  /** Output comes. Why it may not: null when it may. */
  take(session: number, bytes: number): string | null {
    const one = this.sessions.get(session);
    if (one === undefined) return 'it sent output of a session that does not exist';
    if (bytes === 0) return 'it sent output without content';
    if (session === 0 && this.firstEnded) return 'it sent output of a process that has ended';
    if (bytes > one.left) return 'it sent more output than it was granted';
    one.left -= bytes;
    return null;
  }

  /** A process runs. Why that cannot be; null when it can. */
  started(session: number): string | null {
    const one = this.sessions.get(session);
    if (one === undefined) return null;
    if (one.started || (session === 0 && this.firstEnded)) return 'it said twice that a process runs';
    one.started = true;
    return null;
  }

  /** A process has ended, or could not start. Why that cannot be; null when it can. */
  ended(session: number): string | null {
    if (session === 0) {
      if (this.firstEnded) return 'it said twice that a process has ended';
      this.firstEnded = true;
    } else this.sessions.delete(session);
    return null;
  }
}
