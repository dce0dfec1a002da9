/** Routes that attach to a container's streams: over the connection itself, and over a WebSocket. */
import type { Request, Router } from 'express';
import { atLeast } from '../http/api-version.js';
import { sendRawError } from '../http/errors.js';
import { dropBody, hijack } from '../http/hijack.js';
import { flag, query, versionOf } from '../http/request.js';
import { RAW_STREAM, streamType } from '../http/stream-type.js';
import { acceptWebSocket } from '../http/web-socket.js';
import { type Attachment, type AttachParts, type AttachRequest, attach, connectAttached } from './attach.js';

/** Adds the routes. */
export function attachRoutes(router: Router, parts: AttachParts): void {
  router.post('/containers/:id/attach', async (request, response) => {
    let attachment: Attachment;
    try {
      await dropBody(request);
      attachment = await attach(parts, request.params.id, attachRequest(request, false));
    } catch (error) {
      sendRawError(response, error, RAW_STREAM);
      return;
    }
    const multiplexed = !attachment.container.spec.process.tty;
    const client = hijack(request, response, streamType(!multiplexed, versionOf(request)));
    await connectAttached(parts, client, attachment, multiplexed);
  });

  router.get('/containers/:id/attach/ws', async (request, response) => {
    // Before 1.42 a client could not choose among the streams.
    const allStreams = !atLeast(versionOf(request), '1.42');
    const attachment = await attach(parts, request.params.id, attachRequest(request, allStreams));
    const client = await acceptWebSocket(request, response);
    if (client === null) attachment.streams.close();
    else await connectAttached(parts, client, attachment, false);
  });
}

function attachRequest(request: Request, allStreams: boolean): AttachRequest {
  const wants = (stream: string): boolean => allStreams || flag(request, stream);
  return {
    stdin: wants('stdin'),
    stdout: wants('stdout'),
    stderr: wants('stderr'),
    logs: flag(request, 'logs'),
    stream: flag(request, 'stream'),
    detachKeys: query(request, 'detachKeys') ?? '',
  };
}
