/** Packets that begin a flow, and first answers to them, as bytes: what a trace sends. RFC 791, 8200, 9293, 768, 792, 4443, 1071. */
import { isIP } from 'node:net';
import { Address4, Address6 } from 'ip-address';

export interface ProbePacket {
  protocol: 'tcp' | 'udp' | 'icmp';
  from: string;
  to: string;
  sourcePort: number;
  /** Of `icmp`: the number of the echo request. */
  port: number;
  /** It answers: the segment that accepts a connection, an echo reply. */
  answer?: boolean | undefined;
}

const NUMBER = { tcp: 6, udp: 17, icmp: 1 } as const;
const ICMPV6 = 58;
const TTL = 64;

/** An Ethernet frame with the packet; both addresses must be of one family. */
export function probeFrame(fromMac: string, toMac: string, packet: ProbePacket): Buffer {
  const six = isIP(packet.to) === 6;
  const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
  const type = six ? Buffer.of(0x86, 0xdd) : Buffer.of(0x08, 0x00);
  return Buffer.concat([mac(toMac), mac(fromMac), type, six ? packet6(packet) : packet4(packet)]);
}

function packet4(packet: ProbePacket): Buffer {
  const [from, to] = [packet.from, packet.to].map((one) => Buffer.from(new Address4(one).toArray())) as [
    Buffer,
    Buffer,
  ];
  const number = NUMBER[packet.protocol];
  const body = payload(
    packet,
    packet.protocol === 'icmp' ? Buffer.alloc(0) : pseudo(from, to, number, packet),
    packet.answer === true ? 0 : 8,
  );
  const head = Buffer.alloc(20);
  head[0] = 0x45;
  head.writeUInt16BE(20 + body.length, 2);
  head.writeUInt16BE(packet.sourcePort, 4);
  head.writeUInt16BE(0x4000, 6);
  head[8] = TTL;
  head[9] = number;
  from.copy(head, 12);
  to.copy(head, 16);
  head.writeUInt16BE(checksum(head), 10);
  return Buffer.concat([head, body]);
}

function packet6(packet: ProbePacket): Buffer {
  const bytes = (text: string): Buffer => Buffer.from(new Address6(text).toUnsignedByteArray());
  const pad = (one: Buffer): Buffer => Buffer.concat([Buffer.alloc(16 - one.length), one]);
  const [from, to] = [pad(bytes(packet.from)), pad(bytes(packet.to))];
  const number = packet.protocol === 'icmp' ? ICMPV6 : NUMBER[packet.protocol];
  const body = payload(packet, pseudo(from, to, number, packet), packet.answer === true ? 129 : 128);
  const head = Buffer.alloc(40);
  head[0] = 0x60;
  head.writeUInt16BE(body.length, 4);
  head[6] = number;
  head[7] = TTL;
  return Buffer.concat([head, from, to].map((one, at) => (at === 0 ? one.subarray(0, 8) : one)).concat(body));
}

/** What the checksum covers besides the segment itself. */
function pseudo(from: Buffer, to: Buffer, protocol: number, packet: ProbePacket): Buffer {
  const rest = Buffer.alloc(4);
  rest.writeUInt16BE(protocol, 0);
  rest.writeUInt16BE(packet.protocol === 'tcp' ? 20 : 8, 2);
  return Buffer.concat([from, to, rest]);
}

function payload({ protocol, sourcePort, port, answer }: ProbePacket, covered: Buffer, echo: number): Buffer {
  const body = Buffer.alloc(protocol === 'tcp' ? 20 : 8);
  if (protocol === 'icmp') {
    body[0] = echo;
    body.writeUInt16BE(sourcePort, 4);
    body.writeUInt16BE(port, 6);
    body.writeUInt16BE(checksum(Buffer.concat([covered, body])), 2);
    return body;
  }
  body.writeUInt16BE(sourcePort, 0);
  body.writeUInt16BE(port, 2);
  if (protocol === 'udp') {
    body.writeUInt16BE(8, 4);
    body.writeUInt16BE(checksum(Buffer.concat([covered, body])) || 0xffff, 6);
    return body;
  }
  body[12] = 0x50;
  // SYN, with ACK in an answer: to the sequence number 0, which the first packet has.
  body[13] = answer === true ? 0x12 : 0x02;
  if (answer === true) body.writeUInt32BE(1, 8);
  body.writeUInt16BE(64_240, 14);
  body.writeUInt16BE(checksum(Buffer.concat([covered, body])), 16);
  return body;
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
