/**
 * One client's connection: requests one after the other, each with its body, until one of them takes the connection over. Node's own
 * server is not used because it cannot do what clients of Docker need: it takes `Upgrade` for the end of HTTP whatever the request
 * is, reads no body then, and takes what follows a body on a connection that becomes a stream for the next request.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable, type Writable } from 'node:stream';
import { BodyDecoder, BodyError } from './body-decoder.js';
import { GrowingBuffer } from './growing-buffer.js';
import { endOfHead, HeadError, MAX_HEAD, parseHead, type RequestHead } from './request-head.js';

/** A head that has begun is there after this long, or the client is given up; Docker's own limit. A connection between requests has none. */
const HEAD_MS = 300_000;
/** What follows a request is read this far while it is being answered. */
const MAX_AHEAD = 64 * 1024;
/** Of a body that nobody wants, this much is read: many clients look for the answer only when they have sent it. */
const MAX_DISCARDED = 64 * 1024 * 1024;
/** What is left of a body that nobody wants has to go on coming. */
const DISCARD_MS = 60_000;
const KEEP_ALIVE_MS = 60_000;
/** A client that is told to go has this long to read it. */
const LINGER_MS = 5_000;

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Told what a connection does. */
export interface ConnectionWatcher {
  /** Nothing of it is being answered: it waits for a request, or for the rest of one. */
  idle(): void;
  busy(): void;
  /** So many bytes more are kept of a head that is not there yet, or fewer. */
  keeps(bytes: number): void;
}

/** A connection that was taken over. */
export interface RawConnection {
  input: Readable;
  output: Writable;
}

const connections = new WeakMap<IncomingMessage, Connection>();

/** Makes a request's connection a stream. Its input is what follows the body; if that was not read, the body itself. */
export function takeOver(request: IncomingMessage): RawConnection & { socket: Socket; head: Buffer } {
  return connections.get(request)!.takeOver();
}

/** `scheme://host` that a request's target began with, if it did. */
export function originOf(request: IncomingMessage): string {
  return connections.get(request)?.origin ?? '';
}

/** A route is done with a request: what it has left open, because the client had gone, is closed. */
export function doneWith(request: IncomingMessage): void {
  connections.get(request)?.done(request);
}

/** Whether a request came by a unix socket. */
export function isOnUnixSocket(request: IncomingMessage): boolean {
  return connections.get(request)?.onUnixSocket === true;
}

type State = 'head' | 'body' | 'answer' | 'discard' | 'over';

export class Connection {
  origin = '';
  private state: State = 'head';
  private readonly received = new GrowingBuffer();
  /** Bytes of a head that is not there yet. */
  private unfinished = 0;
  /** Where to go on looking for the head's end. */
  private scanned = 0;
  private head: RequestHead | undefined;
  private request: IncomingMessage | undefined;
  private response: ServerResponse | undefined;
  private body = new BodyDecoder(0);
  private wanted = false;
  /** Somebody has begun to read the body. */
  private asked = false;
  private busy = false;
  private ended = false;
  private taken = false;
  private discarded = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly handler: Handler,
    private readonly watcher: ConnectionWatcher = {
      idle: () => undefined,
      busy: () => undefined,
      keeps: () => undefined,
    },
    readonly onUnixSocket = false,
  ) {
    socket.setNoDelay?.(true);
    // There is no limit on idle connections: one whose client is gone without a word is found by this.
    socket.setKeepAlive?.(true, KEEP_ALIVE_MS);
    socket.on('data', this.onData).on('end', this.onEnd).on('drain', this.onDrain).on('close', this.onClose);
    socket.on('error', () => socket.destroy());
    this.limit(HEAD_MS);
  }

  private readonly onData = (data: Buffer): void => {
    this.received.append(data);
    this.advance();
  };

  private get bytes(): Buffer {
    return this.received.bytes;
  }

  private keep(bytes: number): void {
    const more = bytes - this.unfinished;
    this.unfinished = bytes;
    if (more !== 0) this.watcher.keeps(more);
  }

  private readonly onEnd = (): void => {
    this.ended = true;
    if (this.state === 'head') {
      if (this.bytes.length > 0) this.refuse(new HeadError(400, 'Bad Request'));
      else this.close();
    } else if (this.state === 'body') {
      // What came before may not have been taken yet. Who does not want the body has to hear that the client has gone.
      if (this.asked) this.advance();
      else this.response?.emit('close');
    } else if (this.state === 'answer') {
      // As in Go: who waits or streams hears that the client has gone; what is being answered is answered.
      if (this.response?.writableFinished === false) this.response.emit('close');
    } else this.socket.end();
  };

  private readonly onDrain = (): void => void this.response?.emit('drain');

  private readonly onClose = (): void => {
    clearTimeout(this.timer);
    this.keep(0);
    if (this.state === 'body') this.fail('unexpected EOF');
    this.state = 'over';
  };

  private limit(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.socket.destroy(), ms).unref();
  }

  private advance(): void {
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.step());
    } finally {
      this.busy = false;
    }
  }

  /** True: there may be more to do. */
  private step(): boolean {
    switch (this.state) {
      case 'head':
        return this.stepHead();
      case 'body':
        return this.stepBody();
      case 'discard':
        return this.stepDiscard();
      case 'answer':
        if (this.bytes.length > MAX_AHEAD) this.socket.pause();
        return false;
      case 'over':
        this.received.clear();
        return false;
    }
  }

  private stepHead(): boolean {
    if (this.bytes.length === 0) {
      // The client has closed its side, and all that it sent has been answered.
      if (this.ended) this.close();
      return false;
    }
    if (this.scanned === 0) this.limit(HEAD_MS);
    this.watcher.idle();
    const end = endOfHead(this.bytes, Math.max(this.scanned - 2, 0));
    this.scanned = this.bytes.length;
    try {
      if ((end < 0 ? this.bytes.length : end) > MAX_HEAD) throw new HeadError(431, 'Request Header Fields Too Large');
      if (end < 0 && this.ended) throw new HeadError(400, 'Bad Request');
      if (end < 0) {
        this.keep(this.bytes.length);
        return false;
      }
      this.begin(parseHead(this.bytes.subarray(0, end)), end);
      return true;
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      this.refuse(error);
      return false;
    }
  }

  private begin(head: RequestHead, end: number): void {
    clearTimeout(this.timer);
    this.watcher.busy();
    this.keep(0);
    this.received.drop(end);
    this.scanned = 0;
    this.head = head;
    this.origin = head.origin;
    this.body = new BodyDecoder(head.framing);
    this.wanted = false;
    this.asked = false;
    this.discarded = 0;
    const request = new IncomingMessage(this.socket);
    request.method = head.method;
    request.url = head.url;
    request.httpVersionMajor = 1;
    request.httpVersionMinor = head.minorVersion;
    request.httpVersion = `1.${head.minorVersion}`;
    request.rawHeaders = head.rawHeaders;
    request.headers = head.headers;
    // Of this object, not of its class: Express changes the class.
    request._read = () => this.want();
    request._destroy = (error, done) => {
      if (this.request === request && this.state === 'body') this.socket.destroy();
      process.nextTick(done, request.listenerCount('error') > 0 ? error : null);
    };
    const response = new ServerResponse(request);
    // A request whose body was not asked for is the last: it may come or not.
    response.shouldKeepAlive = head.keepAlive && !head.expectsContinue;
    Object.defineProperty(response, 'writableNeedDrain', {
      get: () => !response.destroyed && !response.writableEnded && this.socket.writableNeedDrain,
    });
    response.once('finish', () => this.answered(request, response));
    [this.request, this.response] = [request, response];
    connections.set(request, this);
    response.assignSocket(this.socket);
    this.state = 'body';
    if (this.body.done) this.bodyDone();
    this.handler(request, response);
  }

  /** Somebody reads the body. */
  private want(): void {
    this.wanted = true;
    this.asked = true;
    const { head, response } = this;
    if (this.state === 'body' && head?.expectsContinue === true && response?.headersSent === false) {
      head.expectsContinue = false;
      response.shouldKeepAlive = head.keepAlive;
      this.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    }
    this.socket.resume();
    // Not at once: this may be within a push.
    process.nextTick(() => this.advance());
  }

  private stepBody(): boolean {
    if (!this.wanted) {
      if (this.bytes.length > MAX_AHEAD) this.socket.pause();
      return false;
    }
    const data = this.take();
    if (data === undefined) return false;
    if (data !== null) this.wanted = this.request!.push(data);
    if (this.body.done) this.bodyDone();
    else if (data === null && this.ended) {
      if (this.taken) this.bodyDone();
      else this.fail('unexpected EOF');
      return false;
    }
    return data !== null || this.body.done;
  }

  /** A piece of the body; null: none yet; undefined: it is broken. */
  private take(): Buffer | null | undefined {
    try {
      const { data, used } = this.body.take(this.bytes);
      this.received.drop(used);
      return data;
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      this.fail(error.message);
      return undefined;
    }
  }

  private bodyDone(): void {
    this.state = 'answer';
    this.request!.complete = true;
    this.request!.push(null);
  }

  /** The body cannot be read on: who reads it is told, and may answer; that is the end of the connection. */
  private fail(message: string): void {
    const [request, response] = [this.request!, this.response!];
    this.state = 'over';
    if (!response.headersSent) response.shouldKeepAlive = false;
    if (response.writableFinished || response.destroyed) this.close();
    request.destroy(new BodyError(message));
  }

  private answered(request: IncomingMessage, response: ServerResponse): void {
    if (this.request !== request) return;
    response.detachSocket(this.socket);
    process.nextTick(() => {
      response.destroyed = true;
      response.emit('close');
    });
    [this.request, this.response] = [undefined, undefined];
    // What Node decided when it wrote the head.
    const last = (response as unknown as { _last?: boolean })._last === true;
    const over = this.ended && this.bytes.length === 0;
    if (this.state === 'over' || over || last || !response.shouldKeepAlive) {
      this.close();
      return;
    }
    if (this.state === 'body') this.state = 'discard';
    else this.state = 'head';
    this.watcher.idle();
    this.socket.resume();
    this.advance();
  }

  done(request: IncomingMessage): void {
    if (this.request === request && this.ended && this.response?.writableEnded === false) this.response.end();
  }

  private stepDiscard(): boolean {
    const before = this.bytes.length;
    try {
      this.received.drop(this.body.take(this.bytes).used);
    } catch {
      this.close();
      return false;
    }
    this.discarded += before - this.bytes.length;
    if (this.discarded > MAX_DISCARDED) this.close();
    else if (this.body.done) {
      this.state = 'head';
      clearTimeout(this.timer);
    } else if (this.bytes.length === before) {
      if (this.ended) this.close();
      else this.limit(DISCARD_MS);
      return false;
    }
    return this.state !== 'over';
  }

  private refuse({ status, reason, message }: HeadError): void {
    const text = status === 501 ? 'Unsupported transfer encoding' : `${status} ${message}`;
    const line = status === 501 ? `501 ${reason}` : `${status} ${message}`;
    this.socket.write(
      status === 417
        ? `HTTP/1.1 ${line}\r\nConnection: close\r\nDate: ${new Date().toUTCString()}\r\nContent-Length: 0\r\n\r\n`
        : `HTTP/1.1 ${line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${text}`,
    );
    this.close();
  }

  /** Says the last and waits a little for the client to have read it: closing with bytes unread takes the answer away from it. */
  private close(): void {
    this.state = 'over';
    this.keep(0);
    this.received.clear();
    this.socket.end();
    this.socket.resume();
    if (!this.socket.destroyed) this.limit(LINGER_MS);
  }

  takeOver(): RawConnection & { socket: Socket; head: Buffer } {
    const { socket, bytes: head } = this;
    const [request, response] = [this.request!, this.response!];
    response.detachSocket(socket);
    socket.once('close', () => response.emit('close'));
    clearTimeout(this.timer);
    if (this.state === 'body') {
      this.taken = true;
      return { input: request, output: socket, socket, head: Buffer.alloc(0) };
    }
    this.state = 'over';
    [this.request, this.response] = [undefined, undefined];
    socket.off('data', this.onData).off('end', this.onEnd).off('drain', this.onDrain).off('close', this.onClose);
    socket.pause();
    // What was read already comes first, also when nothing follows.
    const input = this.ended && head.length > 0 ? Readable.from([head], { objectMode: false }) : socket;
    return { input, output: socket, socket, head: input === socket ? head : Buffer.alloc(0) };
  }
}
