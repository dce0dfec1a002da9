/** Errors as Docker answers them: the one place where a kind becomes a status. */
import type { Response } from 'express';
import { type ErrorKind, kindOf, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';

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
  timeout: 500,
  cancelled: 499,
  internal: 500,
};

/** Answers with `{"message": …}` and the status of the error's kind. */
export function sendError(response: Response, error: unknown): void {
  // What express refuses (a path that cannot be decoded) carries a status of its own.
  const kind = (error as { status?: unknown } | null)?.status === 400 ? 'invalid' : kindOf(error);
  const status = STATUS[kind];
  if (kind === 'internal') log.error({ err: error }, 'a request failed');
  if (response.headersSent) {
    response.end();
    return;
  }
  if (status === 304) response.status(304).end();
  else response.status(status).json({ message: messageOf(error) });
}
