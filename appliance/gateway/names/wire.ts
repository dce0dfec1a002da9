/**
 * The layout of DNS messages (RFC 1035, section 4; RFC 6891 for EDNS), as far as a forwarder has to know it. What is passed on keeps its
 * bytes: records of types that nobody here knows must arrive as they were sent. Everything is read with bounds; what is wrong is null.
 */
import { SocketAddress } from 'node:net';

export const HEAD_BYTES = 12;
export const TYPE = { A: 1, CNAME: 5, SOA: 6, PTR: 12, MX: 15, AAAA: 28, OPT: 41, IXFR: 251, AXFR: 252 } as const;
export const CLASS_IN = 1;
export const RCODE = { none: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5, badVers: 16 } as const;

/** Bits of the header's second word. */
export const FLAG = { response: 0x8000, authoritative: 0x400, truncated: 0x200, recursion: 0x100, available: 0x80 };
/** Of DNSSEC (RFC 4035): the data were checked; the asker checks them itself. */
export const AUTHENTIC = 0x20;
export const UNCHECKED = 0x10;
export const OPCODE_MASK = 0x7800;

/** More than any real message has. */
const MAX_RECORDS = 4096;
/** More labels than a name can have. */
const MAX_LABELS = 128;

/** A record's place in its message. */
export interface RecordPlace {
  section: 'answer' | 'authority' | 'additional';
  start: number;
  type: number;
  class: number;
  ttl: number;
  ttlAt: number;
  dataAt: number;
  end: number;
}

/** A message that was read as a whole. */
export interface Message {
  wire: Buffer;
  id: number;
  flags: number;
  /** Where the only question ends; {@link HEAD_BYTES} if there is none. */
  questionEnd: number;
  records: RecordPlace[];
}

/** The offset after the name at `at`; null if it does not end within the message. */
export function skipName(wire: Buffer, at: number, pointers = true): number | null {
  let place = at;
  for (let labels = 0; labels < MAX_LABELS; labels++) {
    const length = wire[place];
    if (length === undefined) return null;
    if (length === 0) return place + 1;
    if (length >= 0xc0) return pointers && place + 2 <= wire.length ? place + 2 : null;
    // The other two kinds of labels were never used.
    if (length >= 0x40) return null;
    place += length + 1;
  }
  return null;
}

/** Reads a message with one question or none. */
export function readMessage(wire: Buffer): Message | null {
  if (wire.length < HEAD_BYTES) return null;
  const questions = wire.readUInt16BE(4);
  const counts = [wire.readUInt16BE(6), wire.readUInt16BE(8), wire.readUInt16BE(10)];
  if (questions > 1 || counts[0]! + counts[1]! + counts[2]! > MAX_RECORDS) return null;
  let at = HEAD_BYTES;
  if (questions === 1) {
    const name = skipName(wire, at, false);
    if (name === null || name - at > 255 || name + 4 > wire.length) return null;
    at = name + 4;
  }
  const questionEnd = at;
  const records: RecordPlace[] = [];
  for (const [index, section] of (['answer', 'authority', 'additional'] as const).entries())
    for (let left = counts[index]!; left > 0; left--) {
      const record = readRecord(wire, at, section);
      if (record === null) return null;
      records.push(record);
      at = record.end;
    }
  return { wire, id: wire.readUInt16BE(0), flags: wire.readUInt16BE(2), questionEnd, records };
}

function readRecord(wire: Buffer, start: number, section: RecordPlace['section']): RecordPlace | null {
  const name = skipName(wire, start);
  if (name === null || name + 10 > wire.length) return null;
  const dataAt = name + 10;
  const end = dataAt + wire.readUInt16BE(name + 8);
  if (end > wire.length) return null;
  return {
    section,
    start,
    type: wire.readUInt16BE(name),
    class: wire.readUInt16BE(name + 2),
    ttl: wire.readUInt32BE(name + 4),
    ttlAt: name + 4,
    dataAt,
    end,
  };
}

/** A message's response code, with the part of it that stands in the EDNS record. */
export function rcodeOf({ flags, records }: Message): number {
  const opt = records.find(({ type }) => type === TYPE.OPT);
  return (flags & 0xf) | (opt === undefined ? 0 : (opt.ttl >>> 24) << 4);
}

/** What a resolver and its clients tell each other in EDNS(0). */
export interface Edns {
  /** The largest answer over UDP that its sender takes. */
  size: number;
  version: number;
  /** DNSSEC records are wanted. */
  secure: boolean;
  /** The options, as they stand in the record. */
  options: Buffer;
}

/** Null without EDNS; undefined if there is more than one record of it, which is an error. */
export function ednsOf({ wire, records }: Message): Edns | null | undefined {
  const [opt, ...more] = records.filter(({ type }) => type === TYPE.OPT);
  if (opt === undefined) return null;
  if (more.length > 0 || opt.section !== 'additional' || wire[opt.start] !== 0) return undefined;
  return {
    size: opt.class,
    version: (opt.ttl >>> 16) & 0xff,
    secure: (opt.ttl & 0x8000) !== 0,
    options: wire.subarray(opt.dataAt, opt.end),
  };
}

/** An EDNS record. @param rcode of the whole message; its upper bits stand here */
export function ednsRecord({ size, secure, options }: Omit<Edns, 'version'>, rcode = 0): Buffer {
  const record = Buffer.alloc(11 + options.length);
  record.writeUInt16BE(TYPE.OPT, 1);
  record.writeUInt16BE(size, 3);
  record.writeUInt32BE(((rcode >> 4) << 24) | (secure ? 0x8000 : 0), 5);
  record.writeUInt16BE(options.length, 9);
  options.copy(record, 11);
  return record;
}

/** Options that are between two neighbours and mean nothing to the next one: cookie, keepalive, padding (RFC 7873, 7828, 7830). */
const NEIGHBOURS = new Set([10, 11, 12]);

/** Options that may be passed on; none of them if they cannot be read. */
export function passedOptions(options: Buffer): Buffer {
  const passed: Buffer[] = [];
  for (let at = 0; at < options.length; ) {
    if (at + 4 > options.length) return Buffer.alloc(0);
    const end = at + 4 + options.readUInt16BE(at + 2);
    if (end > options.length) return Buffer.alloc(0);
    if (!NEIGHBOURS.has(options.readUInt16BE(at))) passed.push(options.subarray(at, end));
    at = end;
  }
  return Buffer.concat(passed);
}

/** The time for which an absence may be remembered (RFC 2308): that of the zone's SOA record; 0 without one. */
export function negativeTtl({ wire, records }: Message): number {
  const soa = records.find(({ section, type }) => section === 'authority' && type === TYPE.SOA);
  if (soa === undefined || soa.end - soa.dataAt < 22) return 0;
  return Math.min(soa.ttl, wire.readUInt32BE(soa.end - 4));
}

/** Characters of names that containers can have, in lower case. Nothing else is looked up here. */
const NAME = /^[a-z0-9_.-]*$/;

/** The question's name, in lower case and without a dot at its end; null if no container can have it. */
export function questionName({ wire, questionEnd }: Message): string | null {
  const labels: string[] = [];
  for (let at = HEAD_BYTES; at < questionEnd - 5; at += wire[at]! + 1) {
    const label = wire.toString('latin1', at + 1, at + 1 + wire[at]!);
    if (label.includes('.')) return null;
    labels.push(label);
  }
  const name = labels.join('.').toLowerCase();
  return NAME.test(name) ? name : null;
}

/** The address that an A or AAAA record tells; null for any other record. */
export function addressOf(wire: Buffer, { type, class: of, dataAt, end }: RecordPlace): string | null {
  const data = wire.subarray(dataAt, end);
  if (of !== CLASS_IN) return null;
  if (type === TYPE.A && data.length === 4) return data.join('.');
  if (type !== TYPE.AAAA || data.length !== 16) return null;
  return canonical((data.toString('hex').match(/.{4}/g) ?? []).join(':'));
}

/** An IPv6 address in the one form in which addresses are compared here; an IPv4 address as it is. */
export function canonical(address: string): string {
  return address.includes(':') ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}
