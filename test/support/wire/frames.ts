/** Ethernet frames as a hostile guest builds them, and a program that sends and watches for them in a container. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Address4, Address6 } from 'ip-address';
import { run } from '../stack.js';

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const ALL_NODES = '33:33:00:00:00:01';

const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
const ip4 = (text: string): Buffer => Buffer.from(new Address4(text).toArray());
const ip6 = (text: string): Buffer => Buffer.from(new Address6(text).bigInt().toString(16).padStart(32, '0'), 'hex');
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);

export function frame(to: string, from: string, type: number, body: Buffer): Buffer {
  return Buffer.concat([mac(to), mac(from), u16(type), body]);
}

/** An ARP request (1) or reply (2). */
export function arp(
  operation: 1 | 2,
  sender: { mac: string; ip: string; frameMac?: string },
  target: { mac: string; ip: string },
): Buffer {
  const head = Buffer.from('0001080006040000', 'hex');
  head[7] = operation;
  const body = Buffer.concat([head, mac(sender.mac), ip4(sender.ip), mac(target.mac), ip4(target.ip)]);
  return frame(target.mac, sender.frameMac ?? sender.mac, 0x0806, body);
}

function checksum(data: Buffer): Buffer {
  const even = data.length % 2 === 0 ? data : Buffer.concat([data, Buffer.alloc(1)]);
  let sum = 0;
  for (let at = 0; at < even.length; at += 2) sum += even.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return u16(~sum & 0xffff);
}

/** An IPv4 packet in a frame. */
export function ipv4(to: string, from: string, source: string, target: string, protocol: number, body: Buffer): Buffer {
  const head = Buffer.concat([
    Buffer.from([0x45, 0]),
    u16(20 + body.length),
    Buffer.from([0, 1, 0, 0, 64, protocol, 0, 0]),
    ip4(source),
    ip4(target),
  ]);
  checksum(head).copy(head, 10);
  return frame(to, from, 0x0800, Buffer.concat([head, body]));
}

/** The beginning of a TCP connection over IPv4: the part of the packet after its IP header. */
export function tcpSyn(source: string, target: string, from: number, to: number): Buffer {
  return tcp(source, target, from, to, 2);
}

/** A TCP segment with these flags, over IPv4. */
export function tcp(source: string, target: string, from: number, to: number, flags: number): Buffer {
  const segment = Buffer.concat([u16(from), u16(to), Buffer.from('00000001000000005000ffff00000000', 'hex')]);
  segment[13] = flags;
  checksum(Buffer.concat([ip4(source), ip4(target), Buffer.from([0, 6]), u16(segment.length), segment])).copy(
    segment,
    16,
  );
  return segment;
}

/** A neighbour solicitation for an address, with the sender's MAC address: the part after its checksum. */
export function solicitation(address: string, ownMac: string): Buffer {
  return Buffer.concat([Buffer.alloc(4), ip6(address), Buffer.from([1, 1]), mac(ownMac)]);
}

/** The same frame to another MAC address. */
export function sentTo(to: string, whole: Buffer): Buffer {
  return Buffer.concat([mac(to), whole.subarray(6)]);
}

/** The UDP part of an IP packet, without a checksum. */
export function udp(from: number, to: number, text: string): Buffer {
  return Buffer.concat([u16(from), u16(to), u16(8 + text.length), u16(0), Buffer.from(text, 'latin1')]);
}

/** An ICMP message: type, code, and the data after its checksum. */
export function icmp(type: number, code: number, rest: Buffer): Buffer {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), rest]);
  checksum(message).copy(message, 2);
  return message;
}

/** An IPv6 packet in a frame to all nodes. */
export function ipv6(from: string, source: string, target: string, next: number, body: Buffer): Buffer {
  const head = Buffer.concat([
    Buffer.from([0x60, 0, 0, 0]),
    u16(body.length),
    Buffer.from([next, 255]),
    ip6(source),
    ip6(target),
  ]);
  return frame(ALL_NODES, from, 0x86dd, Buffer.concat([head, body]));
}

/** An ICMPv6 packet in a frame to all nodes. */
export function icmpv6(from: string, source: string, target: string, type: number, rest: Buffer): Buffer {
  const message = Buffer.concat([Buffer.from([type, 0, 0, 0]), rest]);
  const pseudo = Buffer.concat([ip6(source), ip6(target), u16(0), u16(message.length), Buffer.from([0, 0, 0, 58])]);
  checksum(Buffer.concat([pseudo, message])).copy(message, 2);
  return ipv6(from, source, target, 58, message);
}

/** An IPv6 packet in a frame with this extension header inserted. */
export function withHeader(packet: Buffer, type: number, header: Buffer): Buffer {
  const [ip, rest] = [Buffer.from(packet.subarray(0, 54)), packet.subarray(54)];
  const body = Buffer.concat([Buffer.from([ip[20]!]), header, rest]);
  ip[20] = type;
  u16(body.length).copy(ip, 18);
  return Buffer.concat([ip, body]);
}

/** The fragments of an IPv6 packet in a frame, split at this byte of its payload. */
export function fragments6(packet: Buffer, at: number): Buffer[] {
  const [ip, rest] = [packet.subarray(0, 54), packet.subarray(54)];
  return [rest.subarray(0, at), rest.subarray(at)].map((piece, index) =>
    withHeader(
      Buffer.concat([ip, piece]),
      44,
      Buffer.concat([Buffer.from([0]), u16((index * at) | (index === 0 ? 1 : 0)), Buffer.from([0, 0, 0, 7])]),
    ),
  );
}

/** The part of a neighbour advertisement after its checksum: "I am that address, whatever you knew". */
export function advertisement(address: string, ownMac: string): Buffer {
  return Buffer.concat([Buffer.from('20000000', 'hex'), ip6(address), Buffer.from([2, 1]), mac(ownMac)]);
}

/** A router advertisement with a prefix and a default route, after its checksum. */
export function routerAdvertisement(prefix: string, ownMac: string): Buffer {
  return Buffer.concat([
    Buffer.from('400007080000000000000000', 'hex'),
    Buffer.from([1, 1]),
    mac(ownMac),
    Buffer.from('030440c0000151800000384000000000', 'hex'),
    ip6(prefix),
  ]);
}

/** The link-local address of a card. */
export function linkLocal(card: string): string {
  const bytes = mac(card);
  bytes[0] = bytes[0]! ^ 2;
  const hex = Buffer.concat([bytes.subarray(0, 3), Buffer.from('fffe', 'hex'), bytes.subarray(3)]).toString('hex');
  return new Address6(`fe80::${hex.match(/.{4}/g)!.join(':')}`).correctForm();
}

/** Compiles the program (`frames.c`) statically. @returns its path, and a function that removes it */
export async function compileFrames(): Promise<{ path: string; remove(): void }> {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-frames-'));
  const path = join(directory, 'frames');
  const source = fileURLToPath(new URL('./frames.c', import.meta.url));
  const { code, stderr } = await run('gcc', ['-D_GNU_SOURCE', '-O1', '-static', '-o', path, source]);
  if (code !== 0) throw new Error(stderr);
  return { path, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
