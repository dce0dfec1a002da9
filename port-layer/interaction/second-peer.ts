/** Somebody who connects to a channel that has a peer: it waits until it is known whether that one lives. */
import type { Socket } from 'node:net';
import type { TetherConnection } from '../../tether/protocol/connection.js';

/** It waits for so long. */
const LIVES_MS = 2000;

/** One at a time; who comes meanwhile is hung up on. */
export class SecondPeer {
  private waiting: Socket | null = null;

  /** @param decide is told whether the first one lives, and says whether it has taken the second */
  wait(socket: Socket, first: TetherConnection, decide: (lives: boolean) => boolean): void {
    socket.on('error', () => undefined);
    if (this.waiting !== null) {
      socket.destroy();
      return;
    }
    this.waiting = socket;
    const since = performance.now();
    let closed = false;
    const look = (): void => {
      clearTimeout(timer);
      first.off('close', onClose);
      this.waiting = null;
      if (socket.destroyed) return;
      if (!decide(!closed && first.heardAt > since)) socket.destroy();
    };
    const onClose = (): void => {
      closed = true;
      look();
    };
    const timer = setTimeout(look, LIVES_MS);
    first.once('close', onClose);
    first.ping();
  }

  /** Nobody is let in any more. */
  hangUp(): void {
    this.waiting?.destroy();
  }
}
