/**
 * Bounds a log that a process writes to its standard output. When the log is too long, its end is copied to `<name>.1` (older parts are `.2`
 * and so on) and the file is emptied. The writer has it open for appending and continues at its beginning; what it writes between the copy
 * and the emptying is lost.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';

/** How long a log may be in bytes, and how many older parts of that length are kept beside it. */
export interface LogBound {
  bytes: number;
  kept: number;
}

/** For hostd and the endpoints. */
export const ENGINE_LOG: LogBound = { bytes: 10 * 1024 * 1024, kept: 3 };
/** For each QEMU, which prints next to nothing unless its guest makes it. */
export const QEMU_LOG: LogBound = { bytes: 1024 * 1024, kept: 1 };
/** For a QEMU that is not, or not yet, a VM of the inventory: the log only serves to find out why it failed. */
export const SPARE_LOG: LogBound = { bytes: QEMU_LOG.bytes, kept: 0 };
/** How often the log is checked; in between it may grow beyond its bound. */
export const LOG_LOOK_MS = 3000;

const PIECE = 256 * 1024;

/** How the writer must open a bounded file. */
export const APPEND_ANEW = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND;

/** Checks once. @returns true if the file was too long */
export async function boundLog(path: string, { bytes, kept }: LogBound): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (info === null || info.size <= bytes) return false;
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (kept > 0) {
      for (let number = kept - 1; number >= 1; number--)
        await rename(`${path}.${number}`, `${path}.${number + 1}`).catch(() => undefined);
      await rm(`${path}.1`, { force: true });
      const older = await open(`${path}.1`, 'wx', info.mode & 0o777);
      await copyEnd(file, older, size, bytes).finally(() => older.close());
    }
  } finally {
    // Even if there is no room for the copy.
    await file.truncate(0).finally(() => file.close());
  }
  return true;
}

async function copyEnd(from: FileHandle, to: FileHandle, size: number, bytes: number): Promise<void> {
  const piece = Buffer.allocUnsafe(PIECE);
  for (let at = Math.max(0, size - bytes); at < size; ) {
    const { bytesRead } = await from.read(piece, 0, Math.min(PIECE, size - at), at);
    if (bytesRead === 0) return;
    await to.writeFile(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** Checks again and again. @param failed called once, if the log cannot be bounded */
export function keepBounded(path: string, bound: LogBound, failed: (error: unknown) => void): { stop(): void } {
  let busy = false;
  let told = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    boundLog(path, bound)
      .catch((error: unknown) => {
        if (!told) failed(error);
        told = true;
      })
      .finally(() => {
        busy = false;
      });
  }, LOG_LOOK_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
