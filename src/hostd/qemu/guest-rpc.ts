/**
 * The host side of GuestRPC, which takes the place of VMware's backdoor RPC on ESXi and runs over a virtio-serial port. A frame is a u32
 * length (LE) and that many bytes; see docs/internals/guest-rpc.md. The guest is hostile: what it sends is bounded in size, rate, keys and
 * characters, and while it does not read its replies, nothing is read from it.
 */

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { mark, tracing } from '../../common/trace.js';
import type { VmHooks } from '../runtime.js';

const log = logger('guestrpc');
/** Longest request; longer ones end the connection. */
const MAX_REQUEST = 64 * 1024;
/** Longest reply a guest takes (`tether/protocol/guest-rpc.ts`). */
export const MAX_REPLY = 8 << 20;
/** How many different keys one guest may set. */
const MAX_KEYS = 32;
/** Requests that a guest may make in a burst, and the time until one more is granted. */
const BURST = 200;
const REFILL_MS = 200;
const RECONNECT_MS = 200;
const FIRST_CONNECT_MS = 5;
const KEY = /^[\w.:-]{1,128}$/;
/** Characters that XML 1.0 cannot carry, so that no vim25 client could receive the value. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNPRINTABLE = /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;

/** A starting guest asks for this: the time in Unix nanoseconds and, in base64, random bytes that no other guest ever gets. */
export const SEED_KEY = 'guestinfo.caisson.seed';
const SEED_BYTES = 64;

/** One frame as bytes. */
export function encodeGuestRpc(text: string): Buffer {
  const body = Buffer.from(text);
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32LE(body.length);
  body.copy(frame, 4);
  return frame;
}

/** Splits bytes into frames; null when the guest sends one that is too long. */
export function takeGuestRpc(pending: Buffer): { requests: string[]; rest: Buffer } | null {
  const requests: string[] = [];
  let rest = pending;
  while (rest.length >= 4) {
    const length = rest.readUInt32LE(0);
    if (length > MAX_REQUEST) return null;
    if (rest.length < 4 + length) break;
    requests.push(rest.toString('utf8', 4, 4 + length));
    rest = rest.subarray(4 + length);
  }
  return { requests, rest };
}

/** Answers the requests of one guest. */
export class GuestRpcAnswers {
  private readonly keysSet = new Set<string>();

  constructor(private readonly hooks: Pick<VmHooks, 'infoGet' | 'infoSet'>) {}

  /** The reply to one request: `R1 VALUE` or `R0 message`. */
  answer(request: string): string {
    const match = /^(info-get|info-set) (\S+)(?: ([\s\S]*))?$/.exec(request);
    if (match === null) return 'R0 Unknown command';
    const [, command, key, value] = match as unknown as [string, string, string, string | undefined];
    if (!KEY.test(key)) return 'R0 Invalid key';
    if (command === 'info-get') return value === undefined ? this.get(key) : 'R0 Unknown command';
    return this.set(key, value ?? '');
  }

  private get(key: string): string {
    const value = key === SEED_KEY ? seed() : this.hooks.infoGet(key);
    if (value === undefined) return 'R0 No value found';
    return Buffer.byteLength(value) + 3 > MAX_REPLY ? 'R0 The value is too long' : `R1 ${value}`;
  }

  private set(key: string, value: string): string {
    if (!this.keysSet.has(key) && this.keysSet.size >= MAX_KEYS) return 'R0 Too many keys';
    try {
      this.hooks.infoSet(key, value.replace(UNPRINTABLE, '\ufffd'));
    } catch (error) {
      return `R0 ${messageOf(error)}`;
    }
    this.keysSet.add(key);
    return 'R1 ';
  }
}

function seed(): string {
  const nanoseconds = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
  return `${nanoseconds} ${randomBytes(SEED_BYTES).toString('base64')}${tracing() ? ' trace' : ''}`;
}

/**
 * What a spare VM gets instead of a seed: first it is told to rehearse, then nothing, and once it is a VM of the inventory, to ask for its
 * seed again.
 */
export class SpareAnswers {
  private rehearses = true;
  private finished: () => void = () => undefined;
  private taken: () => void = () => undefined;
  private readonly becameVm = new Promise<void>((resolve) => {
    this.taken = resolve;
  });
  /** Resolves when the spare VM has rehearsed and waits. */
  readonly waits = new Promise<void>((resolve) => {
    this.finished = resolve;
  });

  /** Makes it a VM of the inventory from now on. */
  take(): void {
    this.taken();
  }

  async answer(request: string): Promise<string> {
    if (request !== `info-get ${SEED_KEY}`) return 'R0 No value found';
    if (this.rehearses) {
      this.rehearses = false;
      return 'R1 rehearse';
    }
    this.finished();
    await this.becameVm;
    return 'R1 taken';
  }
}

/** Keeps a connection to a running VM's GuestRPC port and answers it. */
export class GuestRpcServer {
  private socket: Socket | null = null;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;
  private readonly commands: string[] = [];
  private answers: GuestRpcAnswers | null;
  /** Token bucket: requests the guest may make now. */
  private granted = BURST;
  private grantedAt = Date.now();
  private heard: () => void = () => undefined;
  /** Resolves when the guest has asked for something, so it is alive. */
  readonly alive = new Promise<void>((resolve) => {
    this.heard = resolve;
  });

  /** @param spare gives the answers until {@link take} */
  constructor(
    private path: string,
    hooks: VmHooks | null,
    private readonly spare: SpareAnswers | null = null,
  ) {
    this.answers = hooks === null ? null : new GuestRpcAnswers(hooks);
    this.connect();
  }

  /** Serves the VM of the inventory that a spare VM has become. @param path where its port is now */
  take(path: string, hooks: VmHooks): void {
    this.path = path;
    this.answers = new GuestRpcAnswers(hooks);
    this.spare?.take();
  }

  /** Sends a command as soon as the port is connected: `OS_Halt` or `OS_Reboot`. */
  command(name: string): void {
    // Asking again changes nothing while the port is not connected.
    if (!this.commands.includes(name)) this.commands.push(name);
    this.flush();
  }

  /** Lets go of the port. */
  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.socket?.destroy();
  }

  private connect(): void {
    const socket = connect(this.path);
    let ready = false;
    socket.once('connect', () => {
      if (this.closed) socket.destroy();
      ready = true;
      this.socket = socket;
      this.flush();
      void this.serve(socket);
    });
    socket.on('error', () => undefined);
    socket.once('close', () => {
      this.socket = null;
      if (!this.closed) this.timer = setTimeout(() => this.connect(), ready ? RECONNECT_MS : FIRST_CONNECT_MS);
    });
  }

  /**
   * Serves one request at a time, so that neither a flood of requests nor a guest that does not read can make hostd hold more than that.
   */
  private async serve(socket: Socket): Promise<void> {
    let pending: Buffer = Buffer.alloc(0);
    try {
      for await (const bytes of socket as AsyncIterable<Buffer>) {
        const taken = takeGuestRpc(pending.length === 0 ? bytes : Buffer.concat([pending, bytes]));
        if (taken === null) {
          log.warn({ path: this.path }, 'the guest sent an oversized GuestRPC frame');
          break;
        }
        pending = taken.rest;
        for (const request of taken.requests) {
          await this.grant();
          if (this.answers === null) {
            await send(socket, (await this.spare?.answer(request)) ?? 'R0 Unknown command');
            continue;
          }
          this.heard();
          mark(`guest ${request.slice(0, 300)}`);
          await send(socket, this.answers.answer(request));
        }
      }
    } catch {
      // The connection broke; it will be made again.
    } finally {
      socket.destroy();
    }
  }

  private async grant(): Promise<void> {
    const now = Date.now();
    this.granted = Math.min(BURST, this.granted + (now - this.grantedAt) / REFILL_MS);
    this.grantedAt = now;
    this.granted--;
    if (this.granted < 0) await sleep(REFILL_MS);
  }

  private flush(): void {
    if (this.socket === null) return;
    for (const name of this.commands.splice(0)) this.socket.write(encodeGuestRpc(`C${name}`));
  }
}

/** Sends a reply; resolves when the guest's side has taken it. */
function send(socket: Socket, reply: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(encodeGuestRpc(reply), (error) => (error ? reject(error) : resolve()));
  });
}
