/** An HTTPS agent that trusts exactly one certificate: the one whose thumbprint the admin gave, as vSphere tools do. */
import { Agent } from 'node:https';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect } from 'node:tls';
import { unavailable } from '../common/errors.js';

/** A server that does not finish the TLS handshake within this time counts as unreachable. */
const CONNECT_TIMEOUT_MS = 15_000;

/** Length of a SHA-1 thumbprint, `AB:CD:…`; vSphere 8 also prints SHA-256 ones. */
const SHA1_LENGTH = 20 * 3 - 1;

/** Keeps connections alive. Without a thumbprint, certificates are checked against the system's authorities. */
export class PinnedAgent extends Agent {
  constructor(private readonly thumbprint: string | undefined) {
    super({ keepAlive: true, maxSockets: 256, scheduling: 'lifo' });
  }

  override createConnection(
    options: ConnectionOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex {
    const { thumbprint } = this;
    // Where the thumbprint decides, the system's authorities are not even loaded, which takes a while.
    const trust = thumbprint === undefined ? { rejectUnauthorized: true } : { rejectUnauthorized: false, ca: [] };
    const socket = connect({ ...options, ...trust });
    const timer = setTimeout(() => socket.destroy(new Error('the connection timed out')), CONNECT_TIMEOUT_MS);
    const failed = (error: Error): void => {
      clearTimeout(timer);
      callback?.(error, socket);
    };
    socket.once('error', failed);
    // Nothing is sent before the certificate has been compared: only the callback hands the socket over.
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      const { fingerprint, fingerprint256 } = socket.getPeerCertificate();
      const shown = thumbprint?.length === SHA1_LENGTH ? fingerprint : fingerprint256;
      if (thumbprint === undefined || shown?.toUpperCase() === thumbprint.toUpperCase()) {
        socket.off('error', failed);
        callback?.(null, socket);
      } else {
        socket.off('error', failed);
        socket.destroy();
        callback?.(unavailable(`the server's certificate has the thumbprint ${shown}, not ${thumbprint}`), socket);
      }
    });
    return undefined as never;
  }
}
