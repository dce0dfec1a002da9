/**
 * A card's packet filter as messages for the kernel's nf_tables (linux/netfilter/nf_tables.h and nfnetlink.h), which the guest passes on as they
 * are: it only puts in the card's name. The table has that name too, so that the next card of the name replaces it.
 */
import { isIPv6 } from 'node:net';
import { Address4, Address6 } from 'ip-address';
import type { NicFilter } from './spec.js';
import { CARD_NAME } from './steps.js';

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
/** NFPROTO_INET: IPv4 and IPv6. NFPROTO_NETDEV: frames of a card. */
const INET = 1;
const NETDEV = 5;
const NFTABLES = 10;

const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
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
function message(type: number, flags: number, attributes: Buffer[], family = INET): Buffer {
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
const Compare = { equal: 0, notEqual: 1, lessOrEqual: 3, greaterOrEqual: 5 } as const;
const compare = (how: number, value: Buffer): Buffer =>
  expression('cmp', attribute(1, REGISTER), attribute(2, be32(how)), nested(3, attribute(1, value)));
/** NFT_META_…: of the packet. */
const Meta = { inputName: 6, outputName: 7, family: 15, protocol: 16 } as const;
const meta = (key: number): Buffer => expression('meta', attribute(1, REGISTER), attribute(2, be32(key)));
/** NFT_PAYLOAD_…_HEADER */
const Header = { link: 0, network: 1, transport: 2 } as const;
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

const protocol = (number: number): Buffer[] => [meta(Meta.protocol), compare(Compare.equal, Buffer.of(number))];
const within = (first: Buffer, last: Buffer): Buffer[] => [
  compare(Compare.greaterOrEqual, first),
  compare(Compare.lessOrEqual, last),
];
/** Established or related, as bits of the connection's state. */
const ANSWERS = [
  expression('ct', attribute(1, REGISTER), attribute(2, be32(0))),
  mask(Buffer.from([6, 0, 0, 0])),
  compare(Compare.notEqual, Buffer.alloc(4)),
  ACCEPT,
];
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

function portRule({ protocol: name, first, last }: NicFilter['ports'][number]): Buffer[] {
  return [
    ...protocol(name === 'tcp' ? 6 : 17),
    payload(Header.transport, 2, 2),
    ...within(be16(first), be16(last)),
    ACCEPT,
  ];
}

const bytesOf = (address: string): Buffer => {
  const ipv6 = isIPv6(address);
  const value = (ipv6 ? new Address6(address) : new Address4(address)).bigInt();
  return Buffer.from(value.toString(16).padStart(ipv6 ? 32 : 8, '0'), 'hex');
};
const isOfIPv6 = (range: string): boolean => isIPv6(range.split(/[/-]/)[0]!);

/** Whether what was loaded is in there. @param range CIDR, or `first-last` */
function bounds(range: string): Buffer[] {
  const [first = '', last = first] = range.split('-');
  const parsed = (text: string): Address4 | Address6 => (isOfIPv6(range) ? new Address6(text) : new Address4(text));
  const ends = [parsed(first).startAddress(), parsed(last).endAddress()];
  const [from, to] = ends.map((one) => bytesOf(one.correctForm()));
  return within(from!, to!);
}

/** From addresses, or to them. @param range CIDR, or `first-last` */
function addressRule(which: 'from' | 'to', range: string): Buffer[] {
  const ipv6 = isOfIPv6(range);
  return [
    meta(Meta.family),
    compare(Compare.equal, Buffer.of(ipv6 ? 10 : 2)),
    payload(Header.network, ADDRESS_AT[which][ipv6 ? 'ipv6' : 'ipv4'], ipv6 ? 16 : 4),
    ...bounds(range),
    ACCEPT,
  ];
}

/** Where a packet's header has its addresses. */
const ADDRESS_AT = { from: { ipv4: 12, ipv6: 8 }, to: { ipv4: 16, ipv6: 24 } } as const;

/** What may go out, rule by rule; undefined: everything. */
function outward({ trust, to }: NicFilter): Buffer[][] | undefined {
  if (trust === 'closed') return [];
  return to === undefined ? undefined : [...NEIGHBOURS, ...to.map((range) => addressRule('to', range))];
}

/** What may come in, rule by rule; the rest is dropped. */
function inward({ trust, ports, peers }: NicFilter): Buffer[][] {
  if (trust === 'closed') return [];
  const always = [ANSWERS, ...NEIGHBOURS];
  if (trust === 'peers') return [...always, ...peers.map((range) => addressRule('from', range))];
  return trust === 'published' ? [...always, ...PINGS, ...ports.map(portRule)] : always;
}

/** A part of a frame, from its beginning: where its network header is, the sender of a raw frame says. */
const frame = (offset: number, length: number): Buffer => payload(Header.link, offset, length);
const is = (offset: number, ...values: number[]): Buffer[] => [
  frame(offset, values.length),
  compare(Compare.equal, Buffer.from(values)),
];
const isNot = (offset: number, values: Buffer): Buffer[] => [
  frame(offset, values.length),
  compare(Compare.notEqual, values),
];
/** Where a frame has what is looked at (IEEE 802.3, RFC 826, 791, 8200, 4443). `late` is behind a hop-by-hop header, which joins of groups have. */
const At = {
  ...{ sender: 6, kind: 12, arpMac: 22, arpFrom: 28 },
  ...{ from4: 26, to4: 30, from6: 22, to6: 38 },
  ...{ next6: 20, icmp6: 54, target6: 62, lateNext6: 54, lateIcmp6: 62 },
} as const;
const KIND_4 = is(At.kind, 0x08, 0x00);
const KIND_ARP = is(At.kind, 0x08, 0x06);
const KIND_6 = is(At.kind, 0x86, 0xdd);
/** fe80::/10 */
const linkLocal = (offset: number, how: number): Buffer[] => [
  frame(offset, 2),
  mask(Buffer.of(0xff, 0xc0)),
  compare(how, Buffer.of(0xfe, 0x80)),
];

/** Of an IPv6 sender that has no address yet, or a link-local one: questions for neighbours and routers, answers, joins of groups. */
function neighbourhood(sender: Buffer[]): Buffer[][] {
  const [own, late] = [is(At.next6, ICMPV6), [...is(At.next6, 0), ...is(At.lateNext6, ICMPV6)]];
  return [
    ...[133, 135, 136].map((type) => [...sender, ...own, ...is(At.icmp6, type), ACCEPT]),
    ...[131, 132, 143].map((type) => [...sender, ...late, ...is(At.lateIcmp6, type), ACCEPT]),
  ];
}

/** What a card may send, frame by frame: what comes from its own addresses. The rest is dropped. */
function frames({ own, to }: NicFilter & { own: NonNullable<NicFilter['own']> }): Buffer[][] {
  const hardware = Buffer.from(own.mac.replaceAll(':', ''), 'hex');
  const sixes = own.addresses.filter((one) => isIPv6(one));
  const fours = own.addresses.filter((one) => !isIPv6(one));
  const receivers = (ipv6: boolean, offset: number): Buffer[][] =>
    (to ?? [])
      .filter((range) => isOfIPv6(range) === ipv6)
      .map((range) => [frame(offset, ipv6 ? 16 : 4), ...bounds(range)]);
  const allowed = (sender: Buffer[], ipv6: boolean, offset: number): Buffer[][] =>
    to === undefined ? [[...sender, ACCEPT]] : receivers(ipv6, offset).map((rule) => [...sender, ...rule, ACCEPT]);
  const six =
    sixes.length === 0
      ? []
      : [
          // An answer about somebody else's address.
          [
            ...[...KIND_6, ...is(At.next6, ICMPV6), ...is(At.icmp6, 136)],
            ...[
              ...sixes.flatMap((one) => isNot(At.target6, bytesOf(one))),
              ...linkLocal(At.target6, Compare.notEqual),
              DROP,
            ],
          ],
          ...neighbourhood([...KIND_6, ...linkLocal(At.from6, Compare.equal)]),
          ...neighbourhood([...KIND_6, ...is(At.from6, ...Buffer.alloc(16))]),
        ];
  return [
    [...isNot(At.sender, hardware), DROP],
    ...fours.map((one) => [...KIND_ARP, ...is(At.arpMac, ...hardware), ...is(At.arpFrom, ...bytesOf(one)), ACCEPT]),
    ...fours.flatMap((one) => allowed([...KIND_4, ...is(At.from4, ...bytesOf(one))], false, At.to4)),
    ...six,
    ...sixes.flatMap((one) => allowed([...KIND_6, ...is(At.from6, ...bytesOf(one))], true, At.to6)),
  ];
}

/** Netfilter's hooks, by what packets do there. */
const Hook = { in: 1, out: 3 } as const;
/** NF_NETDEV_EGRESS: what leaves the card, whoever made it. */
const EGRESS = 1;

function chain(name: string, hook: number, rules: Buffer[][]): Buffer[] {
  const table = attribute(1, CARD);
  const other = [meta(hook === Hook.in ? Meta.inputName : Meta.outputName), compare(Compare.notEqual, CARD), ACCEPT];
  return [
    message(Type.newChain, CREATE, [
      table,
      attribute(3, text(name)),
      nested(4, attribute(1, be32(hook)), attribute(2, be32(0))),
      attribute(7, text('filter')),
    ]),
    ...[other, ...rules, [DROP]].map((rule) =>
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
const emptied = (family = INET): Buffer[] => [
  message(Type.newTable, CREATE, [attribute(1, CARD)], family),
  message(Type.deleteTable, 0, [attribute(1, CARD)], family),
];

/** The chain of what the card may send. It goes with the card. */
function sending(rules: Buffer[][]): Buffer[] {
  const table = attribute(1, CARD);
  const hook = nested(4, attribute(1, be32(EGRESS)), attribute(2, be32(0)), attribute(3, CARD));
  return [
    ...emptied(NETDEV),
    message(Type.newTable, CREATE, [table], NETDEV),
    message(Type.newChain, CREATE, [table, attribute(3, text('send')), hook, attribute(7, text('filter'))], NETDEV),
    ...[...rules, [DROP]].map((rule) =>
      message(Type.newRule, CREATE | APPEND, [table, attribute(2, text('send')), nested(4, ...rule)], NETDEV),
    ),
  ];
}

/** Takes the filter of a card's name away. */
export const noPacketFilter = (): Buffer => batch(emptied());

/** The messages that make a card's filter; empty for a card that everything may pass. */
export function packetFilter(filter: NicFilter | undefined): Buffer {
  if (filter === undefined || filter.trust === 'open') return Buffer.alloc(0);
  const out = outward(filter);
  return batch([
    ...emptied(),
    message(Type.newTable, CREATE, [attribute(1, CARD)]),
    ...chain('in', Hook.in, inward(filter)),
    ...(out === undefined ? [] : chain('out', Hook.out, out)),
    ...(filter.own === undefined ? [] : sending(frames({ ...filter, own: filter.own }))),
  ]);
}
