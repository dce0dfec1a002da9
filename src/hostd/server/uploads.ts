/**
 * Uploads: a file is put in place only when it is complete. Until then it is in the same directory, under a name that clients cannot use.
 * The next hostd removes what a killed one left. An upload that makes no progress is given up.
 */
import { randomBytes } from 'node:crypto';
import { createWriteStream, type WriteStream } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { messageOf, timeout } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { UPLOAD_SUFFIX } from '../datastore/own-files.js';

const log = logger('uploads');
/** At least this much (or the rest of the file) must arrive within this time, unless hostd itself was too slow. */
const PACE = { ms: 300_000, bytes: 64 * 1024 };

/** Uploads of this process. */
const underWay = new Set<string>();

/**
 * Puts a file at `path`, as a whole or not at all. @param write makes the file at the path that it is given, where there is none
 * @returns whether there was a file at that place
 * @throws what `write` throws, after which nothing is left; system errors
 */
export async function putWhole(path: string, write: (partial: string) => Promise<void>): Promise<boolean> {
  const partial = join(dirname(path), `.${randomBytes(8).toString('hex')}${UPLOAD_SUFFIX}`);
  underWay.add(partial);
  try {
    await write(partial);
    const existed = await stat(path).then(
      () => true,
      () => false,
    );
    await rename(partial, path);
    return existed;
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  } finally {
    underWay.delete(partial);
  }
}

/**
 * Receives a file from a client. Nothing is left of an upload that breaks off.
 * @returns whether there was a file at that place
 * @throws timeout for a client that stops sending; system errors
 */
export async function receiveFile(path: string, request: IncomingMessage, pace = PACE): Promise<boolean> {
  return putWhole(path, async (partial) => {
    const file = createWriteStream(partial, { flags: 'wx', mode: 0o644, highWaterMark: 1024 * 1024 });
    const watch = keepPace(request, file, pace);
    await pipeline(request, file).finally(() => clearInterval(watch));
  });
}

function keepPace(request: IncomingMessage, file: WriteStream, { ms, bytes }: typeof PACE): NodeJS.Timeout {
  let before = 0;
  let [looks, waited] = [0, 0];
  // It looks more often than it judges, because a slow disk is not the client's fault.
  return setInterval(() => {
    if (file.writableNeedDrain) waited++;
    if (++looks < 10) return;
    const now = file.bytesWritten + file.writableLength;
    if (now - before < bytes && waited === 0 && !request.complete) {
      log.warn({ from: request.socket.remoteAddress, bytes: now }, 'an upload makes no progress and is given up');
      file.destroy(timeout(`the upload does not go on: ${now - before} bytes in ${ms / 1000} s`));
    }
    [before, looks, waited] = [now, 0, 0];
  }, ms / 10).unref();
}

/** Removes what an earlier hostd has left below `directory`. Links are not followed. */
export async function removeLeftUploads(directory: string): Promise<void> {
  try {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) await removeLeftUploads(path);
      else if (entry.isFile() && entry.name.endsWith(UPLOAD_SUFFIX) && !underWay.has(path)) {
        await rm(path, { force: true });
        log.info({ path }, 'removed an unfinished upload');
      }
    }
  } catch (error) {
    // Directories may come and go meanwhile.
    log.debug({ err: messageOf(error), directory }, 'a directory could not be looked through');
  }
}
