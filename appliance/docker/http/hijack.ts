/** Turns a request's connection into a raw stream, as attach and exec do ("hijacking" in Docker's words). */
import type { Request, Response } from 'express';
import type { StreamClient } from '../streams/connect-streams.js';
import { readBody } from './body-reader.js';
import { takeOver } from './connection.js';
import { ENGINE_HEADERS } from './engine-headers.js';
import { RAW_STREAM } from './stream-type.js';

/**
 * Answers a request and takes its connection over. With `Upgrade` the answer is 101 with `upgradeType` as its content type, otherwise
 * 200; the connection becomes the stream either way. A body that nobody has read yet is the stream's first input.
 * @param options.headers send the engine's own headers too: Docker does so for execs, but not for attach
 */
export function hijack(
  request: Request,
  response: Response,
  upgradeType: string,
  options: { headers?: boolean } = {},
): StreamClient {
  const own =
    options.headers === true ? ENGINE_HEADERS.map((name) => `${name}: ${String(response.get(name))}\r\n`) : [];
  const status =
    request.headers.upgrade === undefined
      ? `200 OK\r\nContent-Type: ${RAW_STREAM}\r\n`
      : `101 UPGRADED\r\nContent-Type: ${upgradeType}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n`;
  const { input, output, socket, head } = takeOver(request);
  socket.write(`HTTP/1.1 ${status}${own.join('')}\r\n`);
  if (head.length > 0) socket.unshift(head);
  return { input, output };
}

/**
 * Discards the body of a request whose connection becomes a stream. Some clients send an empty one (`null`, `{}`), which must not reach
 * the process. Without `Upgrade`, a body that is not JSON is input and stays.
 */
export async function dropBody(request: Request): Promise<void> {
  const isJson = /^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '');
  if (hasBody(request) && (isJson || request.headers.upgrade !== undefined)) await readBody(request);
}

function hasBody(request: Request): boolean {
  return request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
}
