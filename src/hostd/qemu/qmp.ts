/** QEMU's monitor protocol (docs/interop/qmp-spec.txt): commands and events over a unix socket. */
import { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { internal, timeout } from '../../common/errors.js';
import { keepReading } from '../../common/keep-reading.js';

/** A message from QEMU: greeting, reply or event. It was checked to be one of these, since QEMU may have been taken over. */
export type QmpMessage =
  | { QMP: unknown }
  | { event: string; data: Record<string, unknown> }
  | { id: number; return: unknown }
  | { id: number; error: string }
  /** A reply that belongs to no command of ours. */
  | { id: undefined };

const MAX_LINE = 16 << 20;
/** How many pieces of a line are joined at a time. */
const PIECES = 1000;
/** Bytes that one QEMU may send at once, and in each second after that. QEMU sends little, except for the answers to some commands. */
const BURST = 32 << 20;
const PER_SECOND = 1 << 20;
/** Longest error text, in characters; it goes to logs and clients. */
const MAX_WORDS = 4096;
const COMMAND_TIMEOUT_MS = 10_000;
const POLL_MS = 4;

/** Splits QEMU's text into messages, one per line. */
export class QmpParser {
  /** The unfinished line: what was joined already, and what has arrived since. */
  private readonly begun: string[] = [];
  private rest: string[] = [];
  private length = 0;

  /** Returns the messages that this text completes. @throws internal when it is not QMP, or a line does not end */
  push(text: string): QmpMessage[] {
    const end = text.lastIndexOf('\n');
    this.length = end < 0 ? this.length + text.length : text.length - end - 1;
    if (this.length > MAX_LINE) throw internal('QEMU sent a monitor message that is too long');
    if (end < 0) {
      this.rest.push(text);
      if (this.rest.length === PIECES) this.begun.push(this.rest.splice(0).join(''));
      return [];
    }
    const lines = `${this.begun.splice(0).join('')}${this.rest.join('')}${text.slice(0, end)}`.split('\n');
    this.rest = [text.slice(end + 1)];
    return lines.filter((line) => line.trim() !== '').map(parseMessage);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parseMessage(line: string): QmpMessage {
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch (error) {
    throw internal('QEMU sent a damaged monitor message', error);
  }
  if (isObject(message)) {
    const { QMP, event, data = {}, id, error } = message;
    if (QMP !== undefined) return { QMP };
    if (typeof event === 'string' && isObject(data)) return { event, data };
    if (event === undefined && id === undefined) return { id };
    if (event === undefined && typeof id === 'number') {
      if (error === undefined) return { id, return: message.return };
      if (isObject(error) && typeof error.desc === 'string') return { id, error: error.desc.slice(0, MAX_WORDS) };
    }
  }
  throw internal('QEMU sent a damaged monitor message');
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Events {
  event: [name: string, data: Record<string, unknown>];
  close: [];
}

/** A connected monitor. Emits `close` once, when QEMU is gone or does not speak QMP. */
export class Qmp extends EventEmitter<Events> {
  private readonly parser = new QmpParser();
  private nextId = 1;
  private readonly waiting = new Map<number, Waiting>();
  private greeted: (() => void) | null = null;
  private allowed = BURST;
  private allowedAt = performance.now();

  private constructor(private readonly socket: Socket) {
    super();
    // Before QEMU ends, it may say why: keep reading what it has sent.
    keepReading(socket);
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.receive(text));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const one of this.waiting.values()) one.reject(internal('QEMU has ended'));
      this.waiting.clear();
      this.emit('close');
    });
  }

  /**
   * Connects and negotiates.
   * @param alive tells whether QEMU still runs, so that nobody waits for a dead one
   * @throws internal, timeout, cancelled
   */
  static async connect(path: string, alive: () => boolean, timeoutMs: number, signal?: AbortSignal): Promise<Qmp> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      signal?.throwIfAborted();
      const socket = await open(path);
      if (socket !== null) {
        const qmp = new Qmp(socket);
        try {
          await qmp.greeting(deadline - Date.now());
          await qmp.command('qmp_capabilities');
          return qmp;
        } catch (error) {
          qmp.release();
          throw error;
        }
      }
      if (!alive()) throw internal('QEMU has ended');
      if (Date.now() > deadline) throw timeout('QEMU does not open its monitor');
      await sleep(POLL_MS);
    }
  }

  /** Whether `close` was emitted already. */
  get closed(): boolean {
    return this.socket.closed;
  }

  /** Runs a command. @throws internal with QEMU's description, timeout */
  command(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    if (this.socket.destroyed) return Promise.reject(internal('QEMU has ended'));
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(timeout(`QEMU does not answer ${execute}`));
      }, COMMAND_TIMEOUT_MS);
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          settle(value);
        };
      this.waiting.set(id, { resolve: done(resolve), reject: done(reject) });
      this.socket.write(`${JSON.stringify({ execute, arguments: args, id })}\n`);
    });
  }

  /** Lets go of the monitor; QEMU goes on. */
  release(): void {
    this.removeAllListeners();
    this.socket.destroy();
  }

  private greeting(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(timeout('QEMU does not open its monitor')), timeoutMs);
      this.greeted = () => {
        clearTimeout(timer);
        resolve();
      };
      this.once('close', () => {
        clearTimeout(timer);
        reject(internal('QEMU has ended'));
      });
    });
  }

  private receive(text: string): void {
    this.pace(text.length);
    let messages: QmpMessage[];
    try {
      messages = this.parser.push(text);
    } catch (error) {
      this.socket.destroy(error as Error);
      return;
    }
    for (const message of messages) this.handle(message);
  }

  /** A QEMU that never stops talking must not keep hostd from serving the others. */
  private pace(length: number): void {
    const now = performance.now();
    this.allowed = Math.min(BURST, this.allowed + ((now - this.allowedAt) / 1000) * PER_SECOND) - length;
    this.allowedAt = now;
    if (this.allowed >= 0) return;
    this.socket.pause();
    setTimeout(() => this.socket.resume(), (-this.allowed / PER_SECOND) * 1000).unref();
  }

  private handle(message: QmpMessage): void {
    if ('QMP' in message) {
      this.greeted?.();
    } else if ('event' in message) {
      this.emit('event', message.event, message.data);
    } else if (message.id !== undefined) {
      const one = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if ('error' in message) one?.reject(internal(`QEMU: ${message.error}`));
      else one?.resolve(message.return);
    }
  }
}

function open(path: string): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(null));
  });
}
