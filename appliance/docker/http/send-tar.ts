/** Answers with a tar. */
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Response } from 'express';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';

const log = logger('docker');

/** If it breaks off, so does the connection: the client must not take it for complete. */
export async function sendTar(response: Response, tar: Readable, type: string): Promise<void> {
  response.setHeader('content-type', type).status(200);
  try {
    // If it fails at once, the head must not have gone out yet.
    if (tar.readableLength === 0 && !tar.readableEnded) await Promise.race([once(tar, 'readable'), once(tar, 'end')]);
    await pipeline(tar, response);
  } catch (error) {
    tar.destroy();
    if (!response.headersSent) throw error;
    log.warn({ err: messageOf(error) }, 'an archive broke off');
    response.destroy();
  }
}
