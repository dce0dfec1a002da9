/** QEMU's monitor protocol (docs/interop/qmp-spec.txt): commands and events over a unix socket. */
import { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { internal, timeout } from '../../common/errors.js';

interface Message {
  QMP?: unknown;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: Record<string, unknown>;
  id?: number;
}

const MAX_LINE = 16 << 20;
const COMMAND_TIMEOUT_MS = 10_000;

interface Events {
  event: [name: string, data: Record<string, unknown>];
  close: [];
}

/** A connected monitor. Emits `close` once when QEMU has gone. */
export class Qmp extends EventEmitter<Events> {
  private pending = '';
  private nextId = 1;
  private readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  private greeted: (() => void) | null = null;

  private constructor(private readonly socket: Socket) {
    super();
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
   * @param alive tells whether QEMU still runs: a dead one is not waited for
   * @throws internal, timeout
   */
  static async connect(path: string, alive: () => boolean, timeoutMs: number): Promise<Qmp> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const socket = await open(path);
      if (socket !== null) {
        const qmp = new Qmp(socket);
        await Promise.race([
          new Promise<void>((greeted) => {
            qmp.greeted = greeted;
          }),
          new Promise((_, reject) => qmp.once('close', () => reject(internal('QEMU has ended')))),
        ]);
        await qmp.command('qmp_capabilities');
        return qmp;
      }
      if (!alive()) throw internal('QEMU has ended');
      if (Date.now() > deadline) throw timeout('QEMU does not open its monitor');
      await sleep(4);
    }
  }

  /** Runs a command. @throws internal with QEMU's description */
  command(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
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

  private receive(text: string): void {
    this.pending += text;
    if (this.pending.length > MAX_LINE) this.socket.destroy();
    for (let end = this.pending.indexOf('\n'); end >= 0; end = this.pending.indexOf('\n')) {
      const line = this.pending.slice(0, end).trim();
      this.pending = this.pending.slice(end + 1);
      if (line !== '') this.handle(JSON.parse(line) as Message);
    }
  }

  private handle(message: Message): void {
    if (message.QMP !== undefined) {
      this.greeted?.();
    } else if (message.event !== undefined) {
      this.emit('event', message.event, message.data ?? {});
    } else if (message.id !== undefined) {
      const one = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error !== undefined) one?.reject(internal(`QEMU: ${message.error.desc}`));
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
