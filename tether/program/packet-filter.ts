/**
 * A card's packet filter as messages for the kernel's nf_tables (linux/netfilter/nf_tables.h and nfnetlink.h), which the guest passes on as they
 * are: it only puts in the card's name. The table has that name too, so that the next card of the name replaces it.
 */
import { isIPv6 } from 'node:net';
import { Address4, Address6 } from 'ip-address';
import { LEASED_SUBNET, type NicFilter, type OpenPort } from './spec.js';
import { CARD_NAME, FIRST_PEER, LAST_PEER } from './steps.js';

/** What the guest replaces by the card's name, both padded with zeros to an interface name's 16 bytes. */
const CARD = Buffer.alloc(16);
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
/** NFPROTO_INET: IPv4 and IPv6. */
const INET = 1;
const NFTABLES = 10;

const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const be16 = (value: number): Buffer => be32(value).subarray(2);
const text = (value: string): Buffer => Buffer.from(`${value}\0`);

function attribute(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(4 + value.length);
  head.writeUInt16LE(type, 2);
  return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
}
const nested = (type: number, ...values: Buffer[]): Buffer => attribute(type | NESTED, Buffer.concat(values));

/** A message of a batch. */
function message(type: number, flags: number, attributes: Buffer[]): Buffer {
  const body = Buffer.concat(attributes);
  const batch = type === Type.begin || type === Type.end;
  const head = Buffer.alloc(20);
  head.writeUInt32LE(head.length + body.length);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(REQUEST | flags, 6);
  head.writeUInt8(batch ? 0 : INET, 16);
  head.writeUInt16BE(batch ? NFTABLES : 0, 18);
  return Buffer.concat([head, body]);
}

/** A part of a rule: it compares, or ends the rule with a verdict. */
const expression = (name: string, ...attributes: Buffer[]): Buffer =>
  nested(1, attribute(1, text(name)), nested(2, ...attributes));

/** Register 1 is the only one that is used. */
const REGISTER = be32(1);
const Compare = { equal: 0, notEqual: 1, lessOrEqual: 3, greaterOrEqual: 5 } as const;
const compare = (how: number, value: Buffer): Buffer =>
  expression('cmp', attribute(1, REGISTER), attribute(2, be32(how)), nested(3, attribute(1, value)));
/** NFT_META_…: of the packet. */
const Meta = { inputName: 6, outputName: 7, family: 15, protocol: 16 } as const;
const meta = (key: number): Buffer => expression('meta', attribute(1, REGISTER), attribute(2, be32(key)));
/** NFT_PAYLOAD_…_HEADER */
const Header = { network: 1, transport: 2 } as const;
const payload = (header: number, offset: number, length: number): Buffer =>
  expression(
    'payload',
    ...[REGISTER, be32(header), be32(offset), be32(length)].map((value, index) => attribute(index + 1, value)),
  );
const mask = (bits: Buffer): Buffer =>
  expression(
    'bitwise',
    ...[REGISTER, REGISTER, be32(bits.length)].map((value, index) => attribute(index + 1, value)),
    nested(4, attribute(1, bits)),
    nested(5, attribute(1, Buffer.alloc(bits.length))),
  );
const verdict = (code: number): Buffer =>
  expression('immediate', attribute(1, be32(0)), nested(2, nested(2, attribute(1, be32(code)))));
const DROP = verdict(0);
const ACCEPT = verdict(1);

/** To that port of the machine itself. */
const redirect = (port: number): Buffer[] => [
  expression('immediate', attribute(1, REGISTER), nested(2, attribute(1, be16(port)))),
  expression('redir', attribute(1, REGISTER)),
];

const protocol = (number: number): Buffer[] => [meta(Meta.protocol), compare(Compare.equal, Buffer.of(number))];
const within = (first: Buffer, last: Buffer): Buffer[] => [
  compare(Compare.greaterOrEqual, first),
  compare(Compare.lessOrEqual, last),
];
/** NFT_CT_…: of the packet's connection. */
const Connection = { state: 0, status: 2 } as const;
const connection = (key: number, bits: number): Buffer[] => [
  expression('ct', attribute(1, REGISTER), attribute(2, be32(key))),
  mask(Buffer.from([bits, 0, 0, 0])),
  compare(Compare.notEqual, Buffer.alloc(4)),
  ACCEPT,
];
/** Established or related. */
const ANSWERS = connection(Connection.state, 6);
/** It was redirected (IPS_DST_NAT). */
const REDIRECTED = connection(Connection.status, 1 << 5);
const ICMP = 1;
const ICMPV6 = 58;
const icmp = (number: number, first: number, last = first): Buffer[] => [
  ...protocol(number),
  payload(Header.transport, 0, 1),
  ...within(Buffer.of(first), Buffer.of(last)),
  ACCEPT,
];
/** Without these IPv6 does not work at all: who asks for a neighbour's address and for groups, and answers. */
const NEIGHBOURS = [icmp(ICMPV6, 130, 132), icmp(ICMPV6, 135, 136)];
const PINGS = [icmp(ICMP, 8), icmp(ICMPV6, 128)];

/** @param then what becomes of what comes there */
function portRule({ protocol: name, first, last }: OpenPort, ...then: Buffer[]): Buffer[] {
  return [
    ...protocol(name === 'tcp' ? 6 : 17),
    payload(Header.transport, 2, 2),
    ...within(be16(first), be16(last)),
    ...then,
  ];
}

/** From addresses of peers. @param peers CIDR, `first-last`, or {@link LEASED_SUBNET}, which the guest fills in */
function peerRule(peers: string): Buffer[] {
  const [first = '', last = first] = peers === LEASED_SUBNET ? [FIRST_PEER, LAST_PEER] : peers.split('-');
  const ipv6 = isIPv6(first.split('/')[0]!);
  const parsed = (text: string): Address4 | Address6 => (ipv6 ? new Address6(text) : new Address4(text));
  const length = ipv6 ? 16 : 4;
  const bytes = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex');
  return [
    meta(Meta.family),
    compare(Compare.equal, Buffer.of(ipv6 ? 10 : 2)),
    payload(Header.network, ipv6 ? 8 : 12, length),
    ...within(bytes(parsed(first).startAddress().bigInt()), bytes(parsed(last).endAddress().bigInt())),
    ACCEPT,
  ];
}

/** What may come in, rule by rule; the rest is dropped. */
function inward({ trust, ports, peers }: NicFilter): Buffer[][] {
  if (trust === 'closed') return [];
  const always = [ANSWERS, ...NEIGHBOURS];
  if (trust === 'peers') return [...always, ...peers.map(peerRule)];
  if (trust !== 'published') return always;
  const [others, redirected] = [ports.filter(({ to }) => to === undefined), ports.some(({ to }) => to !== undefined)];
  return [...always, ...PINGS, ...others.map((port) => portRule(port, ACCEPT)), ...(redirected ? [REDIRECTED] : [])];
}

/** Netfilter's hooks, by what packets do there; with their priority (NF_IP_PRI_…) and the kind of chain. */
const Hook = {
  arrive: { number: 0, priority: -100, type: 'nat' },
  in: { number: 1, priority: 0, type: 'filter' },
  out: { number: 3, priority: 0, type: 'filter' },
} as const;

/** A chain for what passes the card. */
function chain(name: keyof typeof Hook, rules: Buffer[][]): Buffer[] {
  const { number, priority, type } = Hook[name];
  const table = attribute(1, CARD);
  const other = [meta(name === 'out' ? Meta.outputName : Meta.inputName), compare(Compare.notEqual, CARD), ACCEPT];
  return [
    message(Type.newChain, CREATE, [
      table,
      attribute(3, text(name)),
      nested(4, attribute(1, be32(number)), attribute(2, be32(priority))),
      attribute(7, text(type)),
    ]),
    ...[other, ...rules].map((rule) =>
      message(Type.newRule, CREATE | APPEND, [table, attribute(2, text(name)), nested(4, ...rule)]),
    ),
  ];
}

/** One transaction. Its last change is acknowledged, so that the guest knows the outcome. */
function batch(messages: Buffer[]): Buffer {
  const last = messages.at(-1)!;
  last.writeUInt16LE(last.readUInt16LE(6) | ACK, 6);
  return Buffer.concat([message(Type.begin, 0, []), ...messages, message(Type.end, 0, [])]);
}

/** Deleting a table that may not exist: it is made first. */
const emptied = (): Buffer[] => [
  message(Type.newTable, CREATE, [attribute(1, CARD)]),
  message(Type.deleteTable, 0, [attribute(1, CARD)]),
];

/** Takes the filter of a card's name away. */
export const noPacketFilter = (): Buffer => batch(emptied());

/** The messages that make a card's filter; empty for a card that everything may pass. */
export function packetFilter(filter: NicFilter | undefined): Buffer {
  const redirects = (filter?.ports ?? []).flatMap((port) =>
    port.to === undefined ? [] : [portRule(port, ...redirect(port.to))],
  );
  if (filter === undefined || (filter.trust === 'open' && redirects.length === 0)) return Buffer.alloc(0);
  const { trust } = filter;
  return batch([
    ...emptied(),
    message(Type.newTable, CREATE, [attribute(1, CARD)]),
    ...(redirects.length > 0 && trust !== 'closed' ? chain('arrive', redirects) : []),
    ...(trust === 'open' ? [] : chain('in', [...inward(filter), [DROP]])),
    ...(trust === 'closed' ? chain('out', [[DROP]]) : []),
  ]);
}
