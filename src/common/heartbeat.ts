/**
 * A process of the engine shows that its event loop is turning by writing to a file again and again. The file's modification time tells the
 * watchdog (`src/common/watchdog.ts`). A request would not do: anybody who may connect could keep the process from answering in time.
 */
import { ftruncateSync, openSync, writeSync } from 'node:fs';

/** One beat every second or two; the watchdog tolerates many missing ones. */
export const BEAT_MS = 2000;
/** Names the descriptor of its file to a process that could not open the file itself. */
export const HEARTBEAT_FD = 'CAISSON_HEARTBEAT_FD';

/** Begins. @param file path, or a descriptor that is open for writing. @throws when it cannot be opened */
export function startHeartbeat(file: string | number): { stop(): void } {
  const descriptor = typeof file === 'number' ? file : openSync(file, 'w', 0o600);
  let beats = 0;
  const beat = (): void => {
    // Synchronously: a busy thread pool does not mean that the event loop hangs.
    try {
      writeSync(descriptor, '.', 0);
    } catch {
      try {
        // The disk is full. Changing the length takes no room, and changes the time too.
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

/** Begins if whoever started this process watches it. */
export function startHeartbeatIfAsked(): void {
  const descriptor = process.env[HEARTBEAT_FD];
  // Children of this process must not inherit it.
  delete process.env[HEARTBEAT_FD];
  if (descriptor !== undefined && /^\d+$/.test(descriptor)) startHeartbeat(Number(descriptor));
}
