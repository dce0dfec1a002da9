/** Connections to a syslog server: datagrams, or a stream that is connected again when it breaks off. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { errnoOf, messageOf, unavailable } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { SyslogSettings } from './syslog-options.js';

const log = logger('syslog');
const CONNECT_MS = 5000;
const CAUSES: Record<string, string> = { ECONNREFUSED: 'connection refused', ETIMEDOUT: 'i/o timeout' };

/** Sends messages; one that can't be sent is told of in the engine's own log, and dropped. */
export interface SyslogSender {
  /** Resolves when the next one may be sent. */
  send(message: Buffer): Promise<void>;
  /** Sends what is under way and ends the connection. */
  close(): void;
}

/** @throws unavailable in Docker's words when nothing can be connected with */
export async function openSyslog(settings: SyslogSettings): Promise<SyslogSender> {
  const { address } = settings;
  if (address.scheme === 'udp') return datagrams(address.host, address.port);
  const sender = new StreamSender(settings);
  await sender.connect();
  return sender;
}

function datagrams(host: string, port: number): SyslogSender {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  // Nobody may listen there: that is not found out.
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

/** Over TCP, TLS or a unix socket. */
class StreamSender implements SyslogSender {
  private socket: Socket | null = null;
  private closed = false;

  constructor(private readonly settings: SyslogSettings) {}

  async connect(): Promise<void> {
    const { address, tls } = this.settings;
    const socket =
      address.scheme === 'unix'
        ? connect(address.path)
        : address.scheme === 'tcp+tls'
          ? connectTls({
              host: address.host,
              port: address.port,
              servername: address.host,
              rejectUnauthorized: tls.verify,
              ...(tls.ca === undefined ? {} : { ca: tls.ca }),
              ...(tls.cert === undefined ? {} : { cert: tls.cert }),
              ...(tls.key === undefined ? {} : { key: tls.key }),
            })
          : connect({ host: address.host, port: address.port });
    try {
      const ready = address.scheme === 'tcp+tls' ? 'secureConnect' : 'connect';
      await once(socket, ready, { signal: AbortSignal.timeout(CONNECT_MS) });
    } catch (error) {
      socket.on('error', () => undefined);
      socket.destroy();
      const code = errnoOf(error) ?? '';
      if (address.scheme === 'unix') throw unavailable('Unix syslog delivery error', error);
      throw unavailable(
        `dial tcp ${address.host}:${address.port}: connect: ${CAUSES[code] ?? messageOf(error)}`,
        error,
      );
    }
    // What a server says is of no interest; that it has gone is.
    socket.resume();
    socket.unref();
    socket.on('error', () => undefined);
    socket.once('close', () => {
      if (this.socket === socket) this.socket = null;
    });
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
