/** Waits for a slow reader. */
import type { Writable } from 'node:stream';

/** Resolves when a stream takes more again, or is closed. */
export function drained(client: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      client.off('drain', done);
      client.off('close', done);
      resolve();
    };
    client.on('drain', done);
    client.on('close', done);
  });
}
