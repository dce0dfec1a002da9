/**
 * Netlink messages and the kernel's answers. The messages themselves: `link-messages.ts`, `element-messages.ts`.
 *
 * Facts: netlink(7), <linux/netlink.h>. Numbers are in the machine's order, which is little-endian.
 */
import { getSystemErrorName } from 'node:util';
import { internal } from '../../common/errors.js';
import { NetlinkHelper } from './netlink-helper.js';

/** Protocols of netlink sockets. */
export const ROUTE = 0;
export const NETFILTER = 12;

const REQUEST = 1;
const ACK = 4;
/** Creates the object if it does not exist. */
export const CREATE = 0x400;
/** Replaces the object if it exists. */
export const REPLACE = 0x100;
/** Fails if the object exists. */
export const EXCLUSIVE = 0x200;
const HEAD_BYTES = 16;
const ERROR = 2;
/** How many messages are sent at once: their answers must fit into a socket's buffer. */
const AT_ONCE = 32;

/** A message without its number. */
export interface Message {
  type: number;
  /** Flags besides those that every message has. */
  flags?: number;
  body: Buffer;
  /** What it does, for the error message if it fails. */
  what: string;
  /** It may fail: its subject may be gone. */
  soft?: boolean;
  /** The kernel answers only if it fails. */
  silent?: boolean;
}

/** A message from the kernel. */
interface Received {
  type: number;
  number: number;
  body: Buffer;
}

/** An attribute; several are nested in another by `Buffer.concat`. */
export function attribute(type: number, value: Buffer): Buffer {
  const whole = Buffer.alloc(aligned(4 + value.length));
  whole.writeUInt16LE(4 + value.length, 0);
  whole.writeUInt16LE(type, 2);
  value.copy(whole, 4);
  return whole;
}

/** An attribute that contains others. */
export function nest(type: number, ...attributes: Buffer[]): Buffer {
  return attribute(type | 0x8000, Buffer.concat(attributes));
}

/** A name, as the kernel represents it. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`);

/** A 32-bit number. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Talks to the kernel about one network namespace at a time. */
export class Netlink {
  constructor(private readonly helper = new NetlinkHelper()) {}

  /**
   * Has the kernel carry out messages, one after the other.
   * @param namespace path of a network namespace
   * @param options.whole if one fails, none of them is carried out; the messages must include what the protocol needs for that
   * @param options.other path of a second namespace, which messages call {@link OTHER_NAMESPACE}
   * @returns what the kernel answered to each, apart from acknowledgements
   * @throws internal naming the first that failed; later ones may have been carried out
   */
  async carryOut(
    namespace: string,
    protocol: number,
    messages: readonly Message[],
    { whole = false, other }: { whole?: boolean; other?: string } = {},
  ): Promise<Buffer[][]> {
    const answers: Buffer[][] = [];
    const step = whole ? messages.length : AT_ONCE;
    for (let at = 0; at < messages.length; at += step)
      answers.push(...(await this.send(namespace, protocol, messages.slice(at, at + step), other)));
    return answers;
  }

  /** Makes a tap. @throws internal */
  async tap(namespace: string, name: string): Promise<void> {
    await this.helper.tap(namespace, name);
  }

  /** Ends the helper process. */
  close(): void {
    this.helper.close();
  }

  private async send(
    namespace: string,
    protocol: number,
    messages: readonly Message[],
    other: string | undefined,
  ): Promise<Buffer[][]> {
    const bytes = Buffer.concat(messages.map((message, index) => encode(message, index + 1)));
    const received = decode(await this.helper.ask(namespace, protocol, bytes, other));
    return messages.map(({ what, soft, silent }, index) => {
      const own = received.filter(({ number }) => number === index + 1);
      const code = own.find(({ type }) => type === ERROR)?.body.readInt32LE(0) ?? (silent === true ? 0 : null);
      if (code === null) throw internal(`${what}: the kernel does not answer`);
      if (code !== 0 && soft !== true) throw internal(`${what}: ${getSystemErrorName(code)}`);
      return own.filter(({ type }) => type !== ERROR).map(({ body }) => body);
    });
  }
}

/** The bytes of a message. */
export function encode({ type, flags = 0, body, silent }: Message, number: number): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(HEAD_BYTES + body.length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(REQUEST | (silent === true ? 0 : ACK) | flags, 6);
  head.writeUInt32LE(number, 8);
  return Buffer.concat([head, body, Buffer.alloc(aligned(body.length) - body.length)]);
}

/** The messages in the bytes received. */
export function decode(bytes: Buffer): Received[] {
  const found: Received[] = [];
  for (let at = 0; at + HEAD_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length < HEAD_BYTES || at + length > bytes.length) break;
    const body = bytes.subarray(at + HEAD_BYTES, at + length);
    found.push({ type: bytes.readUInt16LE(at + 4), number: bytes.readUInt32LE(at + 8), body });
    at += aligned(length);
  }
  return found;
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
