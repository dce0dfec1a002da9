/**
 * A process of the engine says that its event loop turns: it writes to a file again and again, whose time of change tells whoever watches
 * over it (`src/hostd/watchdog.ts`). Not by a request to it: anybody who may connect could keep it from answering one in time.
 */
import { ftruncateSync, openSync, writeSync } from 'node:fs';

/** A beat a second or two: those who watch allow for many that fail to come. */
export const BEAT_MS = 2000;
/** The descriptor on which a process gets its file, for one that could not open it itself. */
export const HEARTBEAT_FD = 'CAISSON_HEARTBEAT_FD';

/** Begins. @param file path, or a descriptor that is open for writing. @throws when it cannot be opened */
export function startHeartbeat(file: string | number): { stop(): void } {
  const descriptor = typeof file === 'number' ? file : openSync(file, 'w', 0o600);
  let beats = 0;
  const beat = (): void => {
    // At once, not by the thread pool: what keeps that busy is none of this.
    try {
      writeSync(descriptor, '.', 0);
    } catch {
      try {
        // There is no room. Another length takes none, and is told as well.
        ftruncateSync(descriptor, 1 + (++beats % 2));
      } catch {
        // The next one may succeed.
      }
    }
  };
  beat();
  const timer = setInterval(beat, BEAT_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** Begins where whoever started this process watches over it. */
export function startHeartbeatIfAsked(): void {
  const descriptor = process.env[HEARTBEAT_FD];
  // Not for children of this process.
  delete process.env[HEARTBEAT_FD];
  if (descriptor !== undefined && /^\d+$/.test(descriptor)) startHeartbeat(Number(descriptor));
}
