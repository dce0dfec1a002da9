/** Hand-written HTTP, for the data after a connection is upgraded. */
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';

/** A connection after the head of the answer. */
export interface RawAnswer {
  socket: Socket;
  status: number;
  /** The head, header names as sent. */
  head: string;
  /** Resolves with everything after the head, when the other side has ended. */
  rest: Promise<Buffer>;
  /** Everything after the head so far. */
  received(): Buffer;
}

/** Sends a request and reads the head of its answer. `body` is JSON; the connection stays open for writing. */
export function rawRequest(
  port: number,
  path: string,
  options: {
    body?: unknown;
    upgrade?: boolean;
    tls?: { ca: string; cert?: string; key?: string };
    method?: string;
  } = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket =
      options.tls === undefined
        ? connect({ port, host: '127.0.0.1', allowHalfOpen: true })
        : tlsConnect({ ...options.tls, port, host: '127.0.0.1', allowHalfOpen: true } as ConnectionOptions);
    // A server that refuses the client's certificate ends the connection after the handshake.
    socket.once('close', () => reject(new Error('closed without an answer')));
    socket.on('error', reject);
    const body = options.body === undefined ? '' : JSON.stringify(options.body);
    const head = [
      `${options.method ?? 'POST'} ${path} HTTP/1.1`,
      'Host: test',
      ...(options.upgrade === false ? [] : ['Connection: Upgrade', 'Upgrade: tcp']),
      ...(body === '' ? [] : ['Content-Type: application/json', `Content-Length: ${body.length}`]),
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
    let bytes = Buffer.alloc(0);
    let answered = false;
    const rest = new Promise<Buffer>((done) => {
      socket.once('end', () => {
        socket.end();
        done(bytes);
      });
    });
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data]);
      if (answered) return;
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      answered = true;
      const text = bytes.subarray(0, end).toString();
      bytes = bytes.subarray(end + 4);
      resolve({ socket, status: Number(text.split(' ')[1]), head: text, rest, received: () => bytes });
    });
  });
}

/** A server's answer to bytes, and whether it closes the connection; `pieces` are sent one by one with pauses. */
export function rawExchange(
  port: number,
  pieces: (string | Buffer)[],
  options: { until?: (answer: string) => boolean; end?: boolean } = {},
): Promise<{ text: string; closed: boolean; socket: Socket }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.setNoDelay(true);
    const parts: Buffer[] = [];
    const text = (): string => Buffer.concat(parts).toString('latin1');
    socket.on('error', reject);
    socket.on('data', (part) => {
      parts.push(part);
      if (options.until?.(text()) === true) resolve({ text: text(), closed: false, socket });
    });
    socket.once('end', () => {
      socket.end();
      resolve({ text: text(), closed: true, socket });
    });
    const send = (rest: (string | Buffer)[]): void => {
      const [first, ...others] = rest;
      if (first !== undefined) socket.write(first, () => setTimeout(send, others.length === 0 ? 0 : 20, others));
      else if (options.end === true) socket.end();
    };
    send(pieces);
  });
}

/** The frames of a multiplexed stream, joined per stream. */
export function demultiplex(bytes: Buffer): { stdout: string; stderr: string } {
  const result = { stdout: '', stderr: '' };
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at + 4);
    result[bytes[at] === 2 ? 'stderr' : 'stdout'] += bytes.subarray(at + 8, at + 8 + length).toString();
    at += 8 + length;
  }
  return result;
}
