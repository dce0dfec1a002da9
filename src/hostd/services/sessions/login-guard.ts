/** What failed logins may cost. Everybody who can connect may try to log in, but nobody has a good reason to do so at a high rate. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fault } from '../../faults.js';
import type { EventManager } from '../events/event-manager.js';

/** One failure is answered in this time, however many wait. */
const FAILURE_MS = 300;
/** Failures that wait for their answer; more are turned away at once. */
const MAX_WAITING = 50;
/** Failed logins make at most one event in this time: they must not push out the events of others. */
const EVENT_MS = 60_000;

/** Answers failed logins one after the other, whichever way they came, and reports them without a word of the stranger's. */
export class LoginGuard {
  private queue: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private untold = 0;
  private toldAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly events: EventManager,
    private readonly failureMs = FAILURE_MS,
  ) {}

  /** Notes a failed login from `address`, and holds its answer back. @throws RequestCanceled when too many wait already */
  async failed(address: string): Promise<void> {
    this.untold++;
    this.tell(address);
    if (this.waiting >= MAX_WAITING)
      throw fault('RequestCanceled', 'Too many logins have failed lately. Try again in a while.');
    this.waiting++;
    const turn = this.queue.then(() => sleep(this.failureMs));
    this.queue = turn;
    await turn.finally(() => this.waiting--);
  }

  private tell(address: string): void {
    if (Date.now() - this.toldAt < EVENT_MS) return;
    const count = this.untold;
    this.toldAt = Date.now();
    this.untold = 0;
    const what = count === 1 ? 'A login' : `${count} logins`;
    this.events.post('BadUsernameSessionEvent', `${what} failed: incorrect user name or password`, '', {
      ipAddress: address,
    });
  }
}
