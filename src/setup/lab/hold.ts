/** A root serves one run at a time, because each run installs its own project in it and all use the same paths. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { unavailable } from '../../common/errors.js';
import { say } from '../console.js';

/**
 * Waits until nobody else, in this or another process, holds the file of that name, then holds it.
 * @returns a function that lets go of it; it is also let go when this process ends
 * @throws unavailable
 */
export async function hold(file: string): Promise<() => Promise<void>> {
  // It holds the lock until its input ends, which also happens when this process does.
  const holder = spawn('flock', ['--exclusive', file, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const ended = once(holder, 'close');
  holder.stdin.on('error', () => undefined);
  const waits = setTimeout(() => say(`Waiting for ${file}, which another run holds`), 1000);
  try {
    await Promise.race([
      once(holder.stdout, 'data'),
      ended.then(() => {
        throw unavailable(`${file} cannot be locked`);
      }),
    ]);
  } finally {
    clearTimeout(waits);
  }
  return async () => {
    holder.stdin.end();
    await ended;
  };
}
