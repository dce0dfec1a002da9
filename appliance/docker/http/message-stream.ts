/** Docker's stream of JSON messages (moby `pkg/jsonmessage`), as pull, load and import answer with. */
import type { Request, Response } from 'express';
import type { ProgressMessage } from '../../image/index.js';
import { dockerMessage } from '../words/docker-message.js';
import { atLeast } from './api-version.js';
import { versionOf } from './request.js';

/** A message: progress, or a text to be printed as it is. */
export type StreamMessage = ProgressMessage & { stream?: string };

/** Answers with 200 at the first message. */
export class MessageStream {
  /** Older clients read fields that newer ones work out themselves. */
  private readonly legacy: boolean;

  constructor(
    request: Request,
    private readonly response: Response,
  ) {
    this.legacy = !atLeast(versionOf(request), '1.52');
  }

  send(message: StreamMessage): void {
    if (!this.response.headersSent) this.response.writeHead(200, { 'content-type': 'application/json' });
    const { error: _error, progress: _bar, ...newest } = message;
    this.response.write(`${JSON.stringify(this.legacy ? message : newest)}\r\n`);
  }

  /** An error as the last message. */
  fail(error: unknown): void {
    const message = dockerMessage(error);
    this.send({ errorDetail: { message }, error: message });
  }
}
