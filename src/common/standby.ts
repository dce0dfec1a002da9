/**
 * The side of a process that stands by: it has loaded its program, and waits until the process that started it says that it is its turn.
 * It ends when that process does, so a spare never works on its own account. The side that starts it is in `src/common/spares.ts`.
 *
 * Both are joined by a socket. The starter sends {@link TURN} once, and closes the socket otherwise; the process sends {@link UP} when it
 * does what it is there for. A process that is started to work at once has the socket only for that.
 */
import { Socket } from 'node:net';

/** In the process's environment: descriptor of the socket, and after a comma `wait` if it stands by. */
export const STANDBY = 'CAISSON_STANDBY';
export const TURN = 'turn\n';
export const UP = 'up\n';

/** The value of {@link STANDBY}. */
export function standbyValue(descriptor: number, waits: boolean): string {
  return waits ? `${descriptor},wait` : String(descriptor);
}

/**
 * Waits for its turn, if this process stands by. The process ends here if that never comes.
 * @param environment {@link STANDBY} is taken out of it: children of this process must not have it
 * @returns to be called when the process does its work
 */
export async function standBy(
  environment: NodeJS.ProcessEnv = process.env,
  leave: (code: number) => void = (code) => process.exit(code),
): Promise<() => void> {
  const [descriptor, wait] = (environment[STANDBY] ?? '').split(',');
  delete environment[STANDBY];
  if (!descriptor) return () => undefined;
  const starter = new Socket({ fd: Number(descriptor), readable: true, writable: true });
  // Whoever started this may have ended, which is no reason to stop working.
  starter.on('error', () => undefined);
  if (wait === 'wait') await turn(starter, leave);
  // It keeps no process running that has nothing else to do.
  starter.unref();
  return () => void starter.end(UP);
}

function turn(starter: Socket, leave: (code: number) => void): Promise<void> {
  return new Promise((resolve) => {
    // It may be of no use without the process that it has a channel to.
    const onDisconnect = (): void => leave(0);
    process.once('disconnect', onDisconnect);
    if (process.send !== undefined && !process.connected) leave(0);
    let heard = '';
    const onData = (data: Buffer): void => {
      heard += data.toString();
      if (heard !== TURN) return;
      starter.off('data', onData).off('close', onClose);
      process.off('disconnect', onDisconnect);
      starter.resume();
      resolve();
    };
    const onClose = (): void => leave(0);
    starter.on('data', onData).once('close', onClose);
    // Half of a message is no message.
    starter.once('end', () => starter.destroy());
  });
}
