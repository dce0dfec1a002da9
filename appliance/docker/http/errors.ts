/** Errors as Docker answers them: the one place where a kind becomes a status. */
import type { Response } from 'express';
import { type ErrorKind, kindOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { dockerMessage } from '../words/docker-message.js';
import { ENGINE_HEADERS } from './request.js';

const log = logger('docker');

const STATUS: Record<ErrorKind, number> = {
  notFound: 404,
  conflict: 409,
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  notModified: 304,
  unsupported: 501,
  unavailable: 500,
  insufficientResources: 500,
  overloaded: 503,
  timeout: 500,
  cancelled: 499,
  internal: 500,
};

/** The kind of any error that a route can end with. */
function kindAtEdge(error: unknown): ErrorKind {
  // What express refuses (a path that cannot be decoded) carries a status of its own.
  return (error as { status?: unknown } | null)?.status === 400 ? 'invalid' : kindOf(error);
}

/** Answers with `{"message": …}` and the status of the error's kind. */
export function sendError(response: Response, error: unknown): void {
  const kind = kindAtEdge(error);
  const status = STATUS[kind];
  if (kind === 'internal') log.error({ err: error }, 'a request failed');
  if (response.headersSent) {
    response.end();
    return;
  }
  if (status === 304) response.status(304).end();
  else response.status(status).json({ message: dockerMessage(error) });
}

/** As {@link sendError}, for a request whose connection was to become a stream: the message as it is, and the connection's end. */
export function sendRawError(response: Response, error: unknown, type: string): void {
  const kind = kindAtEdge(error);
  if (kind === 'internal') log.error({ err: error }, 'a request failed');
  const text = Buffer.from(`${dockerMessage(error)}\r\n`);
  for (const name of ENGINE_HEADERS) response.removeHeader(name);
  response.writeHead(STATUS[kind], { 'Content-Type': type, 'Content-Length': text.length, Connection: 'close' });
  response.end(text);
}
