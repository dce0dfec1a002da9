/** Reads whole bodies. Each is bounded in size and time, and all of them together in size. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { invalid, messageOf, overloaded } from '../../../src/common/errors.js';

const MAX_BODY = 4 * 1024 * 1024;
const MAX_DISCARDED = 16 * MAX_BODY;
/** How long nothing may come of a body, and how long all of it may take. */
const STOPS_MS = 60_000;
const WHOLE_MS = 300_000;
/** The bytes of all bodies that are being read. */
const MAX_TOGETHER = 256 * 1024 * 1024;

let together = 0;

/**
 * Reads the raw body. After a body that is given up, the connection is closed with the answer.
 * @throws invalid when it is too large, malformed, or stops coming; overloaded when too many are being read
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
      // Go on reading, within reason: many clients look for the answer only once they have sent everything.
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
