/**
 * Messages for the kernel's nf_tables (linux/netfilter/nf_tables.h and nfnetlink.h), and the expressions that rules are made of. The guest passes
 * them on as they are: it only puts in the card's name.
 */
import { isIPv6 } from 'node:net';
import { Address4, Address6 } from 'ip-address';
import { CARD_NAME } from './steps.js';

/** What the guest replaces by the card's name, both padded with zeros to an interface name's 16 bytes. */
export const CARD = Buffer.alloc(16);
CARD.write(CARD_NAME);

/** NFNL_MSG_BATCH_…, and NFT_MSG_… of the subsystem. */
const Type = {
  begin: 0x10,
  end: 0x11,
  newTable: 0x0a00,
  deleteTable: 0x0a02,
  newChain: 0x0a03,
  newRule: 0x0a06,
} as const;
/** NLM_F_… */
const REQUEST = 1;
const ACK = 4;
const CREATE = 0x400;
const APPEND = 0x800;
const NESTED = 0x8000;
/** NFPROTO_INET: IPv4 and IPv6. NFPROTO_NETDEV: frames of a card. */
export const Family = { inet: 1, netdev: 5 } as const;
type Family = (typeof Family)[keyof typeof Family];
const NFTABLES = 10;

const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
export const be16 = (value: number): Buffer => be32(value).subarray(2);
const text = (value: string): Buffer => Buffer.from(`${value}\0`);

function attribute(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(4 + value.length);
  head.writeUInt16LE(type, 2);
  return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
}
const nested = (type: number, ...values: Buffer[]): Buffer => attribute(type | NESTED, Buffer.concat(values));

/** A message of a batch. */
function message(type: number, flags: number, attributes: Buffer[], family: Family = Family.inet): Buffer {
  const body = Buffer.concat(attributes);
  const batch = type === Type.begin || type === Type.end;
  const head = Buffer.alloc(20);
  head.writeUInt32LE(head.length + body.length);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(REQUEST | flags, 6);
  head.writeUInt8(batch ? 0 : family, 16);
  head.writeUInt16BE(batch ? NFTABLES : 0, 18);
  return Buffer.concat([head, body]);
}

/** A part of a rule: it compares, or ends the rule with a verdict. */
const expression = (name: string, ...attributes: Buffer[]): Buffer =>
  nested(1, attribute(1, text(name)), nested(2, ...attributes));

/** Register 1 is the only one that is used. */
const REGISTER = be32(1);
export const Compare = { equal: 0, notEqual: 1, lessOrEqual: 3, greaterOrEqual: 5 } as const;
export const compare = (how: number, value: Buffer): Buffer =>
  expression('cmp', attribute(1, REGISTER), attribute(2, be32(how)), nested(3, attribute(1, value)));
/** NFT_META_…: of the packet. */
export const Meta = { inputName: 6, outputName: 7, family: 15, protocol: 16 } as const;
export const meta = (key: number): Buffer => expression('meta', attribute(1, REGISTER), attribute(2, be32(key)));
/** NFT_PAYLOAD_…_HEADER */
export const Header = { link: 0, network: 1, transport: 2 } as const;
export const payload = (header: number, offset: number, length: number): Buffer =>
  expression(
    'payload',
    ...[REGISTER, be32(header), be32(offset), be32(length)].map((value, index) => attribute(index + 1, value)),
  );
export const mask = (bits: Buffer): Buffer =>
  expression(
    'bitwise',
    ...[REGISTER, REGISTER, be32(bits.length)].map((value, index) => attribute(index + 1, value)),
    nested(4, attribute(1, bits)),
    nested(5, attribute(1, Buffer.alloc(bits.length))),
  );
const verdict = (code: number): Buffer =>
  expression('immediate', attribute(1, be32(0)), nested(2, nested(2, attribute(1, be32(code)))));
export const DROP = verdict(0);
export const ACCEPT = verdict(1);

/** To that port of the machine itself. */
export const redirect = (port: number): Buffer[] => [
  expression('immediate', attribute(1, REGISTER), nested(2, attribute(1, be16(port)))),
  expression('redir', attribute(1, REGISTER)),
];

/** The packet is for an address of the machine: `fib daddr type local` (NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR is RTN_LOCAL). */
export const FOR_ITSELF: Buffer[] = [
  expression('fib', attribute(1, REGISTER), attribute(2, be32(3)), attribute(3, be32(2))),
  // In the byte order of the machine.
  compare(Compare.equal, Buffer.from([2, 0, 0, 0])),
];

export const protocol = (number: number): Buffer[] => [meta(Meta.protocol), compare(Compare.equal, Buffer.of(number))];
export const within = (first: Buffer, last: Buffer): Buffer[] => [
  compare(Compare.greaterOrEqual, first),
  compare(Compare.lessOrEqual, last),
];
/** NFT_CT_…: of the packet's connection. */
export const Connection = { state: 0, status: 2 } as const;
export const connection = (key: number, bits: number): Buffer[] => [
  expression('ct', attribute(1, REGISTER), attribute(2, be32(key))),
  mask(Buffer.from([bits, 0, 0, 0])),
  compare(Compare.notEqual, Buffer.alloc(4)),
  ACCEPT,
];

/** An address as it is in packets. */
export const bytesOf = (address: string): Buffer => {
  const ipv6 = isIPv6(address);
  const value = (ipv6 ? new Address6(address) : new Address4(address)).bigInt();
  return Buffer.from(value.toString(16).padStart(ipv6 ? 32 : 8, '0'), 'hex');
};

/** @param range CIDR, or `first-last` */
export const isOfIPv6 = (range: string): boolean => isIPv6(range.split(/[/-]/)[0]!);

/** Whether the address that was loaded is in there. @param range CIDR, or `first-last` */
export function bounds(range: string): Buffer[] {
  const [first = '', last = first] = range.split('-');
  const parsed = (text: string): Address4 | Address6 => (isOfIPv6(range) ? new Address6(text) : new Address4(text));
  const ends = [parsed(first).startAddress(), parsed(last).endAddress()];
  const [from, to] = ends.map((one) => bytesOf(one.correctForm()));
  return within(from!, to!);
}

/** One transaction. Its last change is acknowledged, so that the guest knows the outcome. */
export function batch(messages: Buffer[]): Buffer {
  const last = messages.at(-1)!;
  last.writeUInt16LE(last.readUInt16LE(6) | ACK, 6);
  return Buffer.concat([message(Type.begin, 0, []), ...messages, message(Type.end, 0, [])]);
}

const table = attribute(1, CARD);

/** Deleting the card's table, which may not exist: it is made first. */
export const noTable = (family: Family = Family.inet): Buffer[] => [
  message(Type.newTable, CREATE, [table], family),
  message(Type.deleteTable, 0, [table], family),
];

/** The card's table, empty. */
export const emptyTable = (family: Family = Family.inet): Buffer[] => [
  ...noTable(family),
  message(Type.newTable, CREATE, [table], family),
];

/** Where a chain is, and of which kind; `priority` is NF_IP_PRI_…. */
export interface Hook {
  number: number;
  priority: number;
  type: 'filter' | 'nat';
}

/** A chain of the card's table. @param rules one for each list of expressions */
export function newChain(name: string, hook: Hook, rules: Buffer[][], family: Family = Family.inet): Buffer[] {
  const device = family === Family.netdev ? [attribute(3, CARD)] : [];
  return [
    message(
      Type.newChain,
      CREATE,
      [
        table,
        attribute(3, text(name)),
        nested(4, attribute(1, be32(hook.number)), attribute(2, be32(hook.priority)), ...device),
        attribute(7, text(hook.type)),
      ],
      family,
    ),
    ...rules.map((rule) =>
      message(Type.newRule, CREATE | APPEND, [table, attribute(2, text(name)), nested(4, ...rule)], family),
    ),
  ];
}
