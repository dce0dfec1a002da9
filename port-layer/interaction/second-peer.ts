/** Somebody who connects to a channel that already has a peer: they wait until it is known whether the first peer is alive. */
import type { Socket } from 'node:net';
import type { TetherConnection } from '../../tether/protocol/connection.js';

/** How long they wait. */
const LIVES_MS = 2000;

/** One at a time; anybody else is hung up on. */
export class SecondPeer {
  private waiting: Socket | null = null;

  /** @param decide is told whether the first peer is alive, and returns whether it has taken the second */
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

  /** Turns away whoever is waiting. */
  hangUp(): void {
    this.waiting?.destroy();
  }
}
