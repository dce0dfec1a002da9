/** Raw streams over a WebSocket (RFC 6455), for `GET /containers/{id}/attach/ws`. */
import { Duplex } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Request, Response } from 'express';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import type { StreamClient } from '../streams/connect-streams.js';
import { atLeast } from './api-version.js';
import { takeOver } from './connection.js';
import { versionOf } from './request.js';

/** The largest message in bytes. A message is input, and kept in memory until it is taken. */
const MAX_MESSAGE = 16 * 1024 * 1024;

const NORMAL_CLOSURE = 1000;

const server = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: MAX_MESSAGE,
});

/**
 * Makes a request's connection a WebSocket. Output goes in binary messages; clients before 1.28 know only text messages.
 * @returns null: the request did not ask for one, and has been answered
 */
export async function acceptWebSocket(request: Request, response: Response): Promise<StreamClient | null> {
  const asked = /(^|,)\s*upgrade\s*(,|$)/i.test(request.headers.connection ?? '');
  if (!asked || request.headers.upgrade?.toLowerCase() !== 'websocket') {
    response.writeHead(400, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
    response.end('not websocket protocol');
    return null;
  }
  const { socket, head } = takeOver(request);
  const webSocket = await new Promise<WebSocket | null>((resolve) => {
    // A refused handshake has been answered, and the connection closed.
    socket.once('close', () => resolve(null));
    server.handleUpgrade(request, socket, head, resolve);
  });
  if (webSocket === null) return null;
  // Taking it over paused it.
  socket.resume();
  webSocket.on('error', () => undefined);
  // The stream closes it without a code; clients should see a normal end.
  const close = webSocket.close.bind(webSocket);
  webSocket.close = (code = NORMAL_CLOSURE, reason) => close(code, reason);
  const stream = createWebSocketStream(webSocket, { decodeStrings: false });
  const output = atLeast(versionOf(request), '1.28') ? stream : asText(stream);
  return { input: stream, output };
}

/** Passes on as text what is written to it. A character split between two writes stays whole. */
function asText(stream: Duplex): Duplex {
  const decoder = new StringDecoder('utf8');
  stream.on('close', () => text.destroy());
  const text: Duplex = new Duplex({
    allowHalfOpen: true,
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      const whole = decoder.write(chunk);
      if (whole === '') done();
      else stream.write(whole, 'utf8', done);
    },
    final(done) {
      stream.end(decoder.end(), 'utf8', done);
    },
  });
  return text;
}
