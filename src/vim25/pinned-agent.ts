/** An HTTPS agent that trusts exactly one certificate: the one whose SHA-1 thumbprint the admin gave, as vSphere tools do. */
import { Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect } from 'node:tls';
import { unavailable } from '../common/errors.js';

/** Keeps connections alive. Without a thumbprint, certificates are checked against the system's authorities. */
export class PinnedAgent extends Agent {
  constructor(private readonly thumbprint: string | undefined) {
    super({ keepAlive: true, maxSockets: 64, scheduling: 'lifo' });
  }

  override createConnection(
    options: ConnectionOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex {
    const { thumbprint } = this;
    if (thumbprint === undefined) return super.createConnection(options as never, callback as never) as Duplex;
    const socket = connect({ ...options, rejectUnauthorized: false });
    // Nothing is sent before the certificate was compared: the callback hands the socket over.
    socket.once('secureConnect', () => {
      const shown = socket.getPeerCertificate().fingerprint;
      if (shown?.toUpperCase() === thumbprint.toUpperCase()) {
        socket.off('error', failed);
        callback?.(null, socket);
      } else {
        socket.destroy();
        failed(unavailable(`the server's certificate has the thumbprint ${shown}, not ${thumbprint}`));
      }
    });
    const failed = (error: Error): void => callback?.(error, socket);
    socket.once('error', failed);
    return undefined as never;
  }
}
