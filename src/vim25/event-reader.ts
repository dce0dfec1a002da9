/** Reads events as they happen, through an EventHistoryCollector (vSphere API reference, "EventHistoryCollector"). */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { VimClient } from './client.js';
import type { AnyEvent, EventFilterSpec, ManagedObjectReference } from './types.generated.js';

const log = logger('vim25');

/** Number of events in a collector's latest page, which is what one round trip brings. */
const PAGE = 100;
const POLL_SECONDS = 55;

/** Which events to read, and for how long. */
export interface EventReaderOptions {
  filter?: EventFilterSpec;
  signal?: AbortSignal;
}

/** The last event that was read: its number and time (Unix milliseconds). */
interface Mark {
  key: number;
  time: number;
}

/** A reader's objects on the server: a history collector, and a property collector that watches its latest page. */
interface Session {
  history: ManagedObjectReference;
  collector: ManagedObjectReference;
  version: string;
}

/**
 * Reads the events from now on, oldest first, until the signal is aborted. A batch of events costs one round trip. After a lost session or
 * connection a new collector continues after the last event that was read. As far as the server's history reaches, no event is lost or
 * delivered twice.
 * @throws VimFault, unavailable if the first collector cannot be made
 */
export async function readEvents(
  client: VimClient,
  options: EventReaderOptions = {},
): Promise<AsyncGenerator<AnyEvent, void>> {
  const session = await open(client, options.filter ?? {});
  try {
    const page = await nextPage(client, session, 0, options.signal);
    return follow(client, options, session, newestOf(page, { key: 0, time: 0 }));
  } catch (error) {
    await close(client, session);
    throw error;
  }
}

async function* follow(
  client: VimClient,
  { filter = {}, signal }: EventReaderOptions,
  first: Session,
  after: Mark,
): AsyncGenerator<AnyEvent, void> {
  let session: Session | undefined = first;
  let last = after;
  let delayMs = 250;
  const ended = (): boolean => signal?.aborted === true;
  try {
    while (!ended()) {
      let events: AnyEvent[];
      try {
        const fresh: boolean = session === undefined;
        session ??= await open(client, filter);
        const page = await nextPage(client, session, fresh ? 0 : POLL_SECONDS, signal);
        if (fresh) last = findAgain(page, last);
        events = await newer(client, session, page, last.key);
        delayMs = 250;
      } catch (error) {
        if (ended()) return;
        log.warn({ err: messageOf(error) }, 'reading events was interrupted');
        if (session !== undefined) await close(client, session);
        session = undefined;
        await sleep(delayMs, undefined, { signal }).catch(() => undefined);
        delayMs = Math.min(delayMs * 2, 5000);
        continue;
      }
      for (const event of events) {
        last = { key: event.key, time: event.createdTime.getTime() };
        yield event;
      }
    }
  } finally {
    if (session !== undefined) await close(client, session);
  }
}

async function open(client: VimClient, filter: EventFilterSpec): Promise<Session> {
  const { eventManager, propertyCollector } = client.serviceContent;
  const history = await client.call('CreateCollectorForEvents', eventManager!, { filter });
  await client.call('SetCollectorPageSize', history, { maxCount: PAGE });
  const collector = await client.call('CreatePropertyCollector', propertyCollector, {});
  await client.call('CreateFilter', collector, {
    spec: {
      propSet: [{ type: 'EventHistoryCollector', pathSet: ['latestPage'], all: false }],
      objectSet: [{ obj: history, skip: false }],
    },
    partialUpdates: false,
  });
  return { history, collector, version: '' };
}

async function close(client: VimClient, session: Session): Promise<void> {
  const none = (): undefined => undefined;
  await client.call('DestroyPropertyCollector', session.collector, {}).catch(none);
  await client.call('DestroyCollector', session.history, {}).catch(none);
}

/** The latest page once it has changed, or nothing after a while without events. */
async function nextPage(
  client: VimClient,
  session: Session,
  maxWaitSeconds: number,
  signal: AbortSignal | undefined,
): Promise<AnyEvent[]> {
  const set = await client.call(
    'WaitForUpdatesEx',
    session.collector,
    { version: session.version, options: { maxWaitSeconds } },
    { signal, idleTimeoutMs: (maxWaitSeconds + 30) * 1000 },
  );
  if (set === undefined) return [];
  session.version = set.version;
  const changes = (set.filterSet ?? [])
    .flatMap((filter) => filter.objectSet ?? [])
    .flatMap((one) => one.changeSet ?? []);
  return (changes.at(-1)?.val as AnyEvent[] | undefined) ?? [];
}

/** The events after number `last`, in order; those that no longer fit into the page are read back from the history. */
async function newer(client: VimClient, session: Session, page: AnyEvent[], last: number): Promise<AnyEvent[]> {
  const found = new Map(page.filter((event) => event.key > last).map((event) => [event.key, event]));
  if (found.size >= PAGE && last > 0) {
    await client.call('ResetCollector', session.history, {});
    for (;;) {
      const older = await client.call('ReadPreviousEvents', session.history, { maxCount: PAGE });
      const missed = older.filter((event) => event.key > last && !found.has(event.key));
      if (missed.length === 0) break;
      for (const event of missed) found.set(event.key, event);
    }
  }
  return [...found.values()].sort((a, b) => a.key - b.key);
}

/** The newest event of a page, or `none`. */
function newestOf(events: AnyEvent[], none: Mark): Mark {
  let newest = none;
  for (const { key, createdTime } of events) if (key > newest.key) newest = { key, time: createdTime.getTime() };
  return newest;
}

/**
 * Where to continue in the history of a new session. A restarted server may count from the beginning again. Then the number of the last
 * event that was read belongs to a different event or to none, and the time tells which events are new.
 */
function findAgain(page: AnyEvent[], last: Mark): Mark {
  const same = page.find((event) => event.key === last.key);
  const counts = same === undefined ? newestOf(page, { key: 0, time: 0 }).key > last.key : isAt(same, last.time);
  if (counts) return last;
  const read = page.filter((event) => event.createdTime.getTime() <= last.time);
  return newestOf(read, { key: 0, time: last.time });
}

function isAt(event: AnyEvent, time: number): boolean {
  return event.createdTime.getTime() === time;
}
