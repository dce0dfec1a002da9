/** The stream of events: those that are kept, then those that come. */
import type { Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { streamed, streamType } from '../http/json-stream.js';
import { filters, query, versionOf } from '../http/request.js';
import { parseTime } from '../values/timestamps.js';
import type { DockerEvent } from './event-bus.js';
import { passes } from './event-filters.js';

const log = logger('docker');
/** Bytes that wait for a client. One that does not keep up with this misses events, as with Docker. */
const MAX_WAITING = 4 * 1024 * 1024;
/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Adds the route. */
export function eventRoutes(router: Router, engine: Engine): void {
  router.get('/events', (request, response) => {
    const [since, until] = [query(request, 'since') || null, query(request, 'until') || null];
    const begin = since === null ? null : timestamp(since);
    const end = until === null ? null : timestamp(until);
    if (begin !== null && end !== null && end < begin)
      throw invalid(`\`since\` time (${since}) cannot be after \`until\` time (${until})`);
    // As Docker: filters that it does not know are passed over, here alone.
    const given = filters(request);
    const version = versionOf(request);
    const type = streamType(request, version);
    response.writeHead(200, { 'content-type': type });
    response.flushHeaders();
    let missed = 0;
    const send = (event: DockerEvent): void => {
      if (!passes(event, given)) return;
      if (response.writableLength < MAX_WAITING) response.write(streamed(eventView(event, version), type));
      else if (missed++ === 0) log.warn('a client is too slow for the events that it asked for');
    };
    const nothingToCome = end !== null && end < BigInt(Date.now()) * 1_000_000n;
    if (begin !== null || end !== null) for (const event of engine.events.past(begin, end)) send(event);
    if (nothingToCome) {
      response.end();
      return;
    }
    const stop = engine.events.listen(send);
    response.once('close', () => {
      stop();
      // A client that has only closed its side still has the other open.
      response.end();
    });
    if (end !== null) {
      const timer = endAt(Number(end / 1_000_000n), () => response.end());
      response.once('close', () => timer.stop());
    }
  });
}

/** An event as a version of the API has it. */
function eventView(event: DockerEvent, version: string): DockerEvent {
  if (!atLeast(version, '1.52')) return event;
  const { status: _status, id: _id, from: _from, ...rest } = event;
  return rest;
}

/** Unix seconds, with a fraction perhaps; anything else is what clients make this of. @throws invalid in Docker's words */
function timestamp(text: string): bigint {
  if (!/^-?\d+(\.\d{1,9})?$/.test(text)) throw invalid(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  return parseTime(text);
}

/** Calls at a time, however far away. @param at milliseconds since 1970 */
function endAt(at: number, body: () => void): { stop(): void } {
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    const left = at - Date.now();
    timer = setTimeout(left > MAX_TIMER_MS ? wait : body, Math.min(Math.max(0, left), MAX_TIMER_MS));
  };
  wait();
  return { stop: () => clearTimeout(timer) };
}
