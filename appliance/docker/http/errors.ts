/** Answers errors as Docker does. The only place where an error's kind becomes an HTTP status. */
import type { Response } from 'express';
import { type ErrorKind, kindOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { dockerMessage } from '../words/docker-message.js';
import { removeEngineHeaders } from './engine-headers.js';

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

/** The kind of any error that a route may throw. */
function kindAtEdge(error: unknown): ErrorKind {
  // Express rejects a path that it cannot decode with an error that carries its own status.
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

/** Like {@link sendError}, for a request whose connection would have become a stream: the plain message, then the connection closes. */
export function sendRawError(response: Response, error: unknown, type: string): void {
  const kind = kindAtEdge(error);
  if (kind === 'internal') log.error({ err: error }, 'a request failed');
  const text = Buffer.from(`${dockerMessage(error)}\r\n`);
  removeEngineHeaders(response);
  response.writeHead(STATUS[kind], { 'Content-Type': type, 'Content-Length': text.length, Connection: 'close' });
  response.end(text);
}
