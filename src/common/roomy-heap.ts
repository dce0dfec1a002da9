/**
 * Lets the heap grow while much data passes through.
 *
 * V8 counts buffers as part of the heap and collects all of it once they are about a third of what lives there. For a program with a heap
 * of 30 MB that is each 10 MB that are read or sent, and a full collection costs 50–100 ms of processor time: more than what is done with
 * the data. Most buffers are garbage at once and leave with a cheap collection of the young ones, so there is no need for a full one.
 */
import { setFlagsFromString } from 'node:v8';

/** How far the heap may grow before all of it is collected, in percent of what lives in it. 0 is V8's own rule. */
const GROWTH = 400;

let users = 0;

/** Lets the heap grow until the returned function is called, which may be called more than once. */
export function roomyHeap(): () => void {
  if (++users === 1) setFlagsFromString(`--heap-growing-percent=${GROWTH}`);
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    if (--users === 0) setFlagsFromString('--heap-growing-percent=0');
  };
}

/** Runs `body` with such a heap. */
export async function withRoomyHeap<T>(body: () => Promise<T>): Promise<T> {
  const release = roomyHeap();
  try {
    return await body();
  } finally {
    release();
  }
}
