/** Follows events: those that are kept, then those that come. */

import { endAt } from '../values/timers.js';
import type { DockerEvent, EventBus } from './event-bus.js';
import { passes } from './event-filters.js';

/** Which events are wanted. Times are in nanoseconds since 1970; null: not limited. */
export interface EventRequest {
  /** Without both times, events that are kept are not sent. */
  since: bigint | null;
  until: bigint | null;
  filters: Map<string, string[]>;
}

/**
 * Sends the events that are wanted, until `until` or until `gone` is aborted.
 * @param done called at the end, of the time or of the client
 */
export function followEvents(
  bus: Pick<EventBus, 'past' | 'listen'>,
  { since, until, filters }: EventRequest,
  send: (event: DockerEvent) => void,
  done: () => void,
  gone: AbortSignal,
): void {
  const take = (event: DockerEvent): void => {
    if (passes(event, filters)) send(event);
  };
  if (since !== null || until !== null) for (const event of bus.past(since, until)) take(event);
  if (until !== null && until < BigInt(Date.now()) * 1_000_000n) {
    done();
    return;
  }
  const stop = bus.listen(take);
  const timer = until === null ? null : endAt(Number(until / 1_000_000n), done);
  const leave = (): void => {
    stop();
    timer?.stop();
    done();
  };
  if (gone.aborted) leave();
  else gone.addEventListener('abort', leave, { once: true });
}
