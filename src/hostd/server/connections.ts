/** Connections of strangers: a bounded number, so that they leave room for those who have logged in, who keep theirs. */
import type { Server } from 'node:https';
import type { Socket } from 'node:net';

/** At most. The one that came first goes when another comes. */
const STRANGERS = 200;

/** Watches the connections of a server. */
export class Connections {
  /** In the order in which they came. */
  private readonly strangers = new Map<string, Socket>();

  constructor(server: Server, most = STRANGERS) {
    server.on('connection', (socket: Socket) => {
      const key = keyOf(socket);
      this.strangers.set(key, socket);
      socket.once('close', () => {
        if (this.strangers.get(key) === socket) this.strangers.delete(key);
      });
      const [oldest] = this.strangers.values();
      if (this.strangers.size > most) oldest?.destroy();
    });
  }

  /** A request of one who has logged in came over it. */
  known(socket: Socket): void {
    this.strangers.delete(keyOf(socket));
  }
}

/** A TLS socket is another object than the connection that it is on, with the same ends. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
