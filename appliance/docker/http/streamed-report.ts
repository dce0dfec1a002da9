/** Answers a prune: with its report or, with `stream` (API 1.56), with a line for each thing that is gone and the report at the end. */
import type { Request, Response } from 'express';
import { dockerMessage } from '../words/docker-message.js';
import { atLeast } from './api-version.js';
import { JSON_LINES, streamed } from './json-stream.js';
import { flag, versionOf } from './request.js';

/** A client that takes nothing for this long is disconnected, since it keeps others from pruning. */
const STALLED_MS = 30_000;

/** How work tells the client what it does. */
export interface ReportProgress {
  /** Something is gone. */
  deleted(id: string): void;
  /** Nobody listens any more. */
  over(): boolean;
}

/** For a client that only wants the report. */
const QUIET: ReportProgress = { deleted: () => undefined, over: () => false };

/** Runs a prune and answers. An error before the first line gets a status of its own; after it, it is a line of the stream. */
export async function streamedReport(
  request: Request,
  response: Response,
  run: (progress: ReportProgress) => Promise<object>,
): Promise<void> {
  if (!atLeast(versionOf(request), '1.56') || !flag(request, 'stream')) {
    response.json(await run(QUIET));
    return;
  }
  let stalled: NodeJS.Timeout | undefined;
  response.on('drain', () => {
    clearTimeout(stalled);
    stalled = undefined;
  });
  response.once('close', () => clearTimeout(stalled));
  const write = (message: object): void => {
    if (response.destroyed) return;
    if (!response.headersSent) response.writeHead(200, { 'content-type': JSON_LINES });
    if (!response.write(streamed(message, JSON_LINES)))
      stalled ??= setTimeout(() => response.destroy(), STALLED_MS).unref();
  };
  try {
    const report = await run({
      deleted: (id) => write({ status: 'deleted', id }),
      over: () => response.destroyed,
    });
    write({ aux: report });
  } catch (error) {
    if (!response.headersSent) throw error;
    write({ errorDetail: { message: dockerMessage(error) } });
  }
  response.end();
}
