/** Bodies that are read whole before anything is done with them: bounded in size, in time, and all of them together. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { invalid, messageOf, overloaded } from '../../../src/common/errors.js';

const MAX_BODY = 4 * 1024 * 1024;
const MAX_DISCARDED = 16 * MAX_BODY;
/** A body of which nothing comes for this long is given up, and one that has not come whole in the other. */
const STOPS_MS = 60_000;
const WHOLE_MS = 300_000;
/** Of all bodies that are being read at a time. */
const MAX_TOGETHER = 256 * 1024 * 1024;

let together = 0;

/**
 * The raw body. One that is given up is answered, and is the last on its connection.
 * @throws invalid when it is too large, is not sent as HTTP has it, or stops; overloaded when there are too many at a time
 */
export async function readBody(request: IncomingMessage & { res?: ServerResponse | undefined }): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  let kept = 0;
  let giveUp = (_error: Error): void => undefined;
  const late = (ms: number, what: string): NodeJS.Timeout =>
    setTimeout(() => giveUp(invalid(`the request's body has not come: ${what} in ${ms / 1000} seconds`)), ms);
  const whole = late(WHOLE_MS, 'not all of it');
  let stops = late(STOPS_MS, 'nothing');
  const take = (part: Buffer): void => {
    clearTimeout(stops);
    stops = late(STOPS_MS, 'nothing');
    size += part.length;
    if (size <= MAX_BODY) {
      kept += part.length;
      together += part.length;
      parts.push(part);
      if (together > MAX_TOGETHER)
        giveUp(overloaded('too many requests with large bodies at a time; try again in a while'));
      // Read to its end all the same, within reason: only then does the client look for the answer.
    } else if (size > MAX_DISCARDED) request.destroy(new Error('request body too large'));
  };
  try {
    await new Promise<void>((resolve, reject) => {
      giveUp = (error) => {
        request.res?.setHeader('Connection', 'close');
        reject(error);
      };
      const broken = (error: unknown): void => reject(invalid(`invalid JSON: ${messageOf(error)}`, error));
      request.on('data', take);
      request.once('end', resolve);
      request.once('error', broken);
      request.once('close', () => broken(new Error('unexpected EOF')));
    });
  } finally {
    together -= kept;
    clearTimeout(whole);
    clearTimeout(stops);
    request.off('data', take);
    request.pause();
  }
  if (size > MAX_BODY) throw invalid('request body too large');
  return Buffer.concat(parts);
}
