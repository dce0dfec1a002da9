/** Raw streams over a WebSocket (RFC 6455), as `GET /containers/{id}/attach/ws` has them. */
import { Duplex } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Request, Response } from 'express';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { atLeast } from './api-version.js';
import { type RawConnection, takeOver } from './connection.js';
import { versionOf } from './request.js';

/** Of one message, in bytes: it is input, and kept until it is taken. */
const MAX_MESSAGE = 16 * 1024 * 1024;

const NORMAL_CLOSURE = 1000;

const server = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: MAX_MESSAGE,
});

/**
 * Makes a request's connection a WebSocket; output goes in binary messages, and in text for clients before 1.28, which know no other.
 * Null: the request is none for it, and is answered.
 */
export async function acceptWebSocket(request: Request, response: Response): Promise<RawConnection | null> {
  const asked = /(^|,)\s*upgrade\s*(,|$)/i.test(request.headers.connection ?? '');
  if (!asked || request.headers.upgrade?.toLowerCase() !== 'websocket') {
    response.writeHead(400, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
    response.end('not websocket protocol');
    return null;
  }
  const { socket, head } = takeOver(request);
  const webSocket = await new Promise<WebSocket | null>((resolve) => {
    // A handshake that is refused was answered, and the connection is ended.
    socket.once('close', () => resolve(null));
    server.handleUpgrade(request, socket, head, resolve);
  });
  if (webSocket === null) return null;
  // It was paused when it was taken over.
  socket.resume();
  webSocket.on('error', () => undefined);
  // The stream closes it without saying why: it is a normal end.
  const close = webSocket.close.bind(webSocket);
  webSocket.close = (code = NORMAL_CLOSURE, reason) => close(code, reason);
  const stream = createWebSocketStream(webSocket, { decodeStrings: false });
  const output = atLeast(versionOf(request), '1.28') ? stream : asText(stream);
  return { input: stream, output };
}

/** What is written goes on as text: characters that are cut stay together. */
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
