/**
 * One client's connection: serves its requests, each with its body, one after the other, until a request takes the connection over. Node's
 * own server cannot do what Docker's clients need: it treats `Upgrade` as the end of HTTP for any request, does not read the body then, and
 * parses what follows a body as the next request even if the connection becomes a stream.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { StreamClient } from '../streams/connect-streams.js';
import { BodyDecoder, BodyError } from './body-decoder.js';
import { GrowingBuffer } from './growing-buffer.js';
import { endOfHead, HeadError, MAX_HEAD, parseHead, type RequestHead } from './request-head.js';

/** How long a head may take once it has begun to come; Docker's own limit. A connection may wait between requests for ever. */
const HEAD_MS = 300_000;
/** How much is read ahead while a request is being answered. */
const MAX_AHEAD = 64 * 1024;
/** How much is read of a body that nobody wants: many clients look for the answer only once they have sent everything. */
const MAX_DISCARDED = 64 * 1024 * 1024;
/** How long nothing may come of a body that nobody wants. */
const DISCARD_MS = 60_000;
const KEEP_ALIVE_MS = 60_000;
/** How long a client has to read the last answer before its connection is destroyed. */
const LINGER_MS = 5_000;

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Is told what a connection does. */
export interface ConnectionWatcher {
  /** No request is being answered: it waits for one, or for the rest of its head. */
  idle(): void;
  busy(): void;
  /** The bytes kept of an unfinished head have changed by this many. */
  keeps(bytes: number): void;
}

const connections = new WeakMap<IncomingMessage, Connection>();

/** Makes a request's connection a stream. Its input is what follows the body or, if the body was not read, the body itself. */
export function takeOver(request: IncomingMessage): StreamClient & { socket: Socket; head: Buffer } {
  return connections.get(request)!.takeOver();
}

/** `scheme://host` of a request whose target is absolute; '' for others. */
export function originOf(request: IncomingMessage): string {
  return connections.get(request)?.origin ?? '';
}

/** A route has returned: closes what it left open because the client had gone. */
export function doneWith(request: IncomingMessage): void {
  connections.get(request)?.done(request);
}

/** Whether a request came over a unix socket. */
export function isOnUnixSocket(request: IncomingMessage): boolean {
  return connections.get(request)?.onUnixSocket === true;
}

type State = 'head' | 'body' | 'answer' | 'discard' | 'over';

export class Connection {
  origin = '';
  private state: State = 'head';
  private readonly received = new GrowingBuffer();
  /** How many bytes of an unfinished head are kept. */
  private unfinished = 0;
  /** How far the search for the end of the head has come. */
  private scanned = 0;
  private head: RequestHead | undefined;
  private request: IncomingMessage | undefined;
  private response: ServerResponse | undefined;
  private body = new BodyDecoder(0);
  private wanted = false;
  /** Whether anybody has begun to read the body. */
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
    // Idle connections have no time limit; this finds those whose client has vanished.
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
      // A reader may not have taken everything yet. A route that does not read the body must learn that the client has gone.
      if (this.asked) this.advance();
      else this.response?.emit('close');
    } else if (this.state === 'answer') {
      // As in Go: routes that wait or stream learn that the client has gone; an answer under way is still sent.
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

  /** @returns whether there may be more to do */
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
      // The client has closed its side, and everything that it sent has been answered.
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
    // Set on the object, since Express changes its class.
    request._read = () => this.want();
    request._destroy = (error, done) => {
      if (this.request === request && this.state === 'body') this.socket.destroy();
      process.nextTick(done, request.listenerCount('error') > 0 ? error : null);
    };
    const response = new ServerResponse(request);
    // If the client waits for `100 Continue` and nobody asks for the body, it may or may not send it: this request must be the last.
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

  /** Called when the body is read. */
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
    // Later, since this may be called from within `push`.
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

  /** @returns a piece of the body; null: none yet; undefined: the body is malformed */
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

  /** The body cannot be read further: its reader gets an error and may still answer; then the connection is closed. */
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
    // Node decided this when it wrote the head.
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

  /** Closes our side and gives the client time to read the answer: closing with unread bytes would reset the connection. */
  private close(): void {
    this.state = 'over';
    this.keep(0);
    this.received.clear();
    this.socket.end();
    this.socket.resume();
    if (!this.socket.destroyed) this.limit(LINGER_MS);
  }

  takeOver(): StreamClient & { socket: Socket; head: Buffer } {
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
    // What was read already comes first, even if nothing follows.
    const input = this.ended && head.length > 0 ? Readable.from([head], { objectMode: false }) : socket;
    return { input, output: socket, socket, head: input === socket ? head : Buffer.alloc(0) };
  }
}
