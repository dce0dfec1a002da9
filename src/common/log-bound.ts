/**
 * Keeps a log from growing without bound that a process writes to its standard output: when it is too long, its end is copied beside it
 * (`<name>.1`; older ones are `.2` and so on) and the file is emptied. Who writes has it open for appending and goes on at its beginning;
 * what it writes between copying and emptying is lost.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';

/** How long a log may be in bytes, and how many older parts of that length are kept beside it. */
export interface LogBound {
  bytes: number;
  kept: number;
}

/** Of hostd and the endpoints. */
export const ENGINE_LOG: LogBound = { bytes: 10 * 1024 * 1024, kept: 3 };
/** Of each QEMU, which says next to nothing unless its guest makes it. */
export const QEMU_LOG: LogBound = { bytes: 1024 * 1024, kept: 1 };
/** Of a QEMU that is not yet, or never will be, somebody's machine: for whoever asks why it failed. */
export const SPARE_LOG: LogBound = { bytes: QEMU_LOG.bytes, kept: 0 };
/** How often it is looked at; in between it may grow longer than it should. */
export const LOG_LOOK_MS = 3000;

const PIECE = 256 * 1024;

/** How to open a file that is bounded, for who writes to it. */
export const APPEND_ANEW = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_APPEND;

/** Looks once. @returns true when the file was too long */
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
    // Also when there is no room for the copy.
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

/** Looks again and again. @param failed told once, when it cannot be done */
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
