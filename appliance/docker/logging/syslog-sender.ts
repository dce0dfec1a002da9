/** Connections to a syslog server: datagrams, or a stream that reconnects when it breaks. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, isIP, isIPv6, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';
import { errnoOf, invalid, messageOf, unavailable } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { SyslogSettings } from './syslog-options.js';

const log = logger('syslog');
const CONNECT_MS = 5000;
const MAX_PORT = 65_535;
const CAUSES: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  ETIMEDOUT: 'connection timed out',
};
/** OpenSSL's codes for a chain that does not lead to a trusted authority. */
const UNKNOWN_AUTHORITY = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
];

/** What is wrong with a server's certificate, in Go's words; null: nothing. */
function certificateProblem(error: unknown): string | null {
  const code = errnoOf(error) ?? '';
  if (UNKNOWN_AUTHORITY.includes(code)) return 'certificate signed by unknown authority';
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return 'certificate has expired or is not yet valid';
  if (code !== 'ERR_TLS_CERT_ALTNAME_INVALID') return null;
  const { host = '', cert } = error as { host?: string; cert?: { subjectaltname?: string } };
  const names = (cert?.subjectaltname ?? '').split(', ').map((name) => name.split(/:(.*)/s));
  const valid = (kind: string): string => names.flatMap(([of, name]) => (of === kind ? [name] : [])).join(', ');
  if (isIP(host) === 0) return `certificate is valid for ${valid('DNS')}, not ${host}`;
  return valid('IP Address') === ''
    ? `cannot validate certificate for ${host} because it doesn't contain any IP SANs`
    : `certificate is valid for ${valid('IP Address')}, not ${host}`;
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';

/** Sends messages. One that cannot be sent is reported in the engine's own log and dropped. */
export interface SyslogSender {
  /** Resolves when the next one may be sent. */
  send(message: Buffer): Promise<void>;
  /** Sends what is still under way and ends the connection. */
  close(): void;
}

/** @throws unavailable in Docker's words when it cannot connect */
export async function openSyslog(settings: SyslogSettings): Promise<SyslogSender> {
  const { address } = settings;
  if (address.scheme !== 'unix' && address.port > MAX_PORT)
    throw unavailable(`dial ${address.scheme === 'udp' ? 'udp' : 'tcp'}: address ${address.port}: invalid port`);
  if (address.scheme === 'udp') return datagrams(address.host, address.port);
  const sender = new StreamSender(settings);
  await sender.connect();
  return sender;
}

function datagrams(host: string, port: number): SyslogSender {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  // Over UDP nobody can tell whether anybody listens.
  socket.on('error', () => undefined);
  socket.unref();
  let closed = false;
  let pending = 0;
  const closeWhenSent = (): void => {
    if (closed && pending === 0) socket.close();
  };
  return {
    send: (message) =>
      new Promise((resolve) => {
        pending++;
        socket.send(message, port, host, (error) => {
          if (error !== null) log.warn({ host, port, err: messageOf(error) }, 'a log message could not be sent');
          pending--;
          closeWhenSent();
          resolve();
        });
      }),
    close() {
      if (closed) return;
      closed = true;
      closeWhenSent();
    },
  };
}

/** @throws invalid in Docker's words for a malformed certificate or key */
function openSocket({ address, tls }: SyslogSettings): Socket {
  if (address.scheme === 'unix') return connect(address.path);
  const { host, port } = address;
  if (address.scheme !== 'tcp+tls') return connect({ host, port });
  const { verify, ca, cert, key } = tls;
  let secureContext: SecureContext;
  try {
    secureContext = createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
  } catch (error) {
    throw invalid(`Could not load X509 key pair: tls: ${messageOf(error)}`, error);
  }
  // Only names are sent to the server; an address is still checked against the certificate.
  const servername = isIP(host) === 0 ? { servername: host } : {};
  return connectTls({ host, port, ...servername, rejectUnauthorized: verify, secureContext });
}

/** Over TCP, TLS or a unix socket. */
class StreamSender implements SyslogSender {
  private socket: Socket | null = null;
  private closed = false;

  constructor(private readonly settings: SyslogSettings) {}

  async connect(): Promise<void> {
    const { address } = this.settings;
    const socket = openSocket(this.settings);
    try {
      const ready = address.scheme === 'tcp+tls' ? 'secureConnect' : 'connect';
      await once(socket, ready, { signal: AbortSignal.timeout(CONNECT_MS) });
    } catch (error) {
      socket.on('error', () => undefined);
      socket.destroy();
      const code = errnoOf(error) ?? '';
      if (address.scheme === 'unix') throw unavailable('Unix syslog delivery error', error);
      if (code === 'ENOTFOUND') throw unavailable(`dial tcp: lookup ${address.host}: no such host`, error);
      const untrusted = certificateProblem(error);
      if (untrusted !== null) throw unavailable(`tls: failed to verify certificate: x509: ${untrusted}`, error);
      if (code.startsWith('ERR_SSL') || code === 'EPROTO') throw unavailable(`tls: ${messageOf(error).trim()}`, error);
      const place = isIPv6(address.host) ? `[${address.host}]` : address.host;
      if (isAbort(error)) throw unavailable(`dial tcp ${place}:${address.port}: i/o timeout`, error);
      throw unavailable(`dial tcp ${place}:${address.port}: connect: ${CAUSES[code] ?? messageOf(error)}`, error);
    }
    // Reads and ignores what a server sends, to notice when it goes.
    socket.resume();
    socket.unref();
    socket.on('error', () => undefined);
    // After the server's end nothing more is sent here; what was sent is still on its way.
    const gone = (): void => {
      if (this.socket === socket) this.socket = null;
    };
    socket.once('end', gone);
    socket.once('close', gone);
    this.socket = socket;
  }

  async send(message: Buffer): Promise<void> {
    if (this.closed) return;
    try {
      if (this.socket === null) await this.connect();
      const { socket } = this;
      if (socket === null || socket.write(message)) return;
      await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
    } catch (error) {
      log.warn({ err: messageOf(error) }, 'a log message could not be sent');
    }
  }

  close(): void {
    this.closed = true;
    this.socket?.end();
  }
}
