/** `GET /events` */
import type { Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { atLeast } from '../http/api-version.js';
import { streamed, streamType } from '../http/json-stream.js';
import { filters, hangup, query, versionOf } from '../http/request.js';
import { parseTime } from '../values/timestamps.js';
import type { DockerEvent, EventBus } from './event-bus.js';
import { followEvents } from './event-stream.js';

const log = logger('docker');
/** Bytes that wait for a client. One that falls further behind misses events, as with Docker. */
const MAX_WAITING = 4 * 1024 * 1024;

/** Adds the route. */
export function eventRoutes(router: Router, events: Pick<EventBus, 'past' | 'listen'>): void {
  router.get('/events', (request, response) => {
    const [from, to] = [query(request, 'since') || null, query(request, 'until') || null];
    const since = from === null ? null : timestamp(from);
    const until = to === null ? null : timestamp(to);
    if (since !== null && until !== null && until < since)
      throw invalid(`\`since\` time (${from}) cannot be after \`until\` time (${to})`);
    // Told of since 1.46.
    const hidden = ({ Type, Action }: DockerEvent): boolean =>
      Type === 'image' && Action === 'create' && !atLeast(version, '1.46');
    // Like Docker, ignores filters that it does not know. Only this route does.
    const given = filters(request);
    const version = versionOf(request);
    const type = streamType(request, version);
    response.writeHead(200, { 'content-type': type });
    response.flushHeaders();
    let missed = 0;
    const send = (event: DockerEvent): void => {
      if (hidden(event)) return;
      if (response.writableLength < MAX_WAITING) response.write(streamed(eventView(event, version), type));
      else if (missed++ === 0) log.warn('a client is too slow for the events that it asked for');
    };
    // Ends the answer also when the client has gone: it may have closed only its own side of the connection.
    followEvents(events, { since, until, filters: given }, send, () => response.end(), hangup(response));
  });
}

/** An event in the form of an API version. */
function eventView(event: DockerEvent, version: string): DockerEvent {
  if (!atLeast(version, '1.52')) return event;
  const { status: _status, id: _id, from: _from, ...rest } = event;
  return rest;
}

/** Seconds since 1970, with or without a fraction; clients turn other forms into this one. @throws invalid in Docker's words */
function timestamp(text: string): bigint {
  if (!/^-?\d+(\.\d{1,9})?$/.test(text)) throw invalid(`strconv.ParseInt: parsing "${text}": invalid syntax`);
  return parseTime(text);
}
