/**
 * What a card sends, checked frame by frame where the kernel hands it to the card, so that packet sockets pass here too (the egress hook of
 * netfilter's family `netdev`). Its chain goes with the card.
 */
import {
  ACCEPT,
  bounds,
  bytesOf,
  Compare,
  compare,
  DROP,
  emptyTable,
  Family,
  Header,
  isOfIPv6,
  mask,
  newChain,
  payload,
} from './nftables.js';
import type { NicFilter } from './spec.js';

type OwnAddresses = NonNullable<NicFilter['own']>;

const ICMPV6 = 58;
/** NF_NETDEV_EGRESS */
const EGRESS = { number: 1, priority: 0, type: 'filter' } as const;

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
function rulesOf(own: OwnAddresses, to: readonly string[] | undefined): Buffer[][] {
  const hardware = Buffer.from(own.mac.replaceAll(':', ''), 'hex');
  const sixes = own.addresses.filter((one) => isOfIPv6(one));
  const fours = own.addresses.filter((one) => !isOfIPv6(one));
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

/** @param to the addresses that may be sent to; undefined: all */
export const frameFilter = (own: OwnAddresses, to: readonly string[] | undefined): Buffer[] => [
  ...emptyTable(Family.netdev),
  ...newChain('send', EGRESS, [...rulesOf(own, to), [DROP]], Family.netdev),
];
