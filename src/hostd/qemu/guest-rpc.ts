/**
 * GuestRPC's host side: what VMware's backdoor RPC is on ESXi, over a virtio-serial port. Frames of u32 length (LE) and that many
 * bytes; see ARCHITECTURE.md. The guest is not trusted: frames and replies are bounded.
 */
import { connect, type Socket } from 'node:net';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { VmHooks } from '../runtime.js';

const log = logger('guestrpc');
const MAX_FRAME = 64 * 1024;
const RECONNECT_MS = 200;

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
    if (length > MAX_FRAME) return null;
    if (rest.length < 4 + length) break;
    requests.push(rest.toString('utf8', 4, 4 + length));
    rest = rest.subarray(4 + length);
  }
  return { requests, rest };
}

/** The reply to one request. */
export function answerGuestRpc(request: string, hooks: Pick<VmHooks, 'infoGet' | 'infoSet'>): string {
  const get = /^info-get (\S+)$/.exec(request);
  if (get !== null) {
    const value = hooks.infoGet(get[1]!);
    return value === undefined ? 'R0 No value found' : `R1 ${value}`;
  }
  const set = /^info-set (\S+) ([\s\S]*)$/.exec(request);
  if (set !== null) {
    try {
      hooks.infoSet(set[1]!, set[2]!);
      return 'R1 ';
    } catch (error) {
      return `R0 ${messageOf(error)}`;
    }
  }
  return 'R0 Unknown command';
}

/** Keeps a connection to a running VM's GuestRPC port and answers it. */
export class GuestRpcServer {
  private socket: Socket | null = null;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;
  private commands: string[] = [];

  constructor(
    private readonly path: string,
    private readonly hooks: VmHooks,
  ) {
    this.connect();
  }

  /** Sends a command as soon as the port is connected: `OS_Halt` or `OS_Reboot`. */
  command(name: string): void {
    this.commands.push(name);
    this.flush();
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.socket?.destroy();
  }

  private connect(): void {
    let pending: Buffer = Buffer.alloc(0);
    let ready = false;
    const socket = connect(this.path);
    socket.on('connect', () => {
      ready = true;
      this.socket = socket;
      this.flush();
    });
    socket.on('data', (bytes: Buffer) => {
      const taken = takeGuestRpc(pending.length === 0 ? bytes : Buffer.concat([pending, bytes]));
      if (taken === null) {
        log.warn({ path: this.path }, 'the guest sent an oversized GuestRPC frame');
        socket.destroy();
        return;
      }
      pending = taken.rest;
      for (const request of taken.requests) socket.write(encodeGuestRpc(answerGuestRpc(request, this.hooks)));
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.socket = null;
      if (!this.closed) this.timer = setTimeout(() => this.connect(), ready ? RECONNECT_MS : 5);
    });
  }

  private flush(): void {
    if (this.socket === null) return;
    for (const name of this.commands.splice(0)) this.socket.write(encodeGuestRpc(`C${name}`));
  }
}
