/** A card's packet filter. Its table has the card's name, so that the next card of the name replaces it. */
import { frameFilter } from './frame-filter.js';
import {
  ACCEPT,
  batch,
  be16,
  bounds,
  CARD,
  Compare,
  Connection,
  compare,
  connection,
  DROP,
  emptyTable,
  FOR_ITSELF,
  Header,
  isOfIPv6,
  Meta,
  meta,
  newChain,
  noTable,
  payload,
  protocol,
  redirect,
  within,
} from './nftables.js';
import { LEASED_SUBNET, type NicFilter, type OpenPort } from './spec.js';
import { FIRST_PEER, LAST_PEER } from './steps.js';

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

/** Where a packet's header has its addresses. */
const ADDRESS_AT = { from: { ipv4: 12, ipv6: 8 }, to: { ipv4: 16, ipv6: 24 } } as const;

/** From addresses, or to them. @param range CIDR, `first-last`, or {@link LEASED_SUBNET}, which the guest fills in */
function addressRule(which: 'from' | 'to', range: string): Buffer[] {
  const known = range === LEASED_SUBNET ? `${FIRST_PEER}-${LAST_PEER}` : range;
  const ipv6 = isOfIPv6(known);
  return [
    meta(Meta.family),
    compare(Compare.equal, Buffer.of(ipv6 ? 10 : 2)),
    payload(Header.network, ADDRESS_AT[which][ipv6 ? 'ipv6' : 'ipv4'], ipv6 ? 16 : 4),
    ...bounds(known),
    ACCEPT,
  ];
}

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
  if (trust !== 'published') return always;
  const [others, redirected] = [ports.filter(({ to }) => to === undefined), ports.some(({ to }) => to !== undefined)];
  return [...always, ...PINGS, ...others.map((port) => portRule(port, ACCEPT)), ...(redirected ? [REDIRECTED] : [])];
}

/** Netfilter's hooks, by what packets do there. */
const HOOKS = {
  arrive: { number: 0, priority: -100, type: 'nat' },
  in: { number: 1, priority: 0, type: 'filter' },
  out: { number: 3, priority: 0, type: 'filter' },
} as const;

/** A chain for what passes the card. */
function chain(name: keyof typeof HOOKS, rules: Buffer[][]): Buffer[] {
  const other = [meta(name === 'out' ? Meta.outputName : Meta.inputName), compare(Compare.notEqual, CARD), ACCEPT];
  return newChain(name, HOOKS[name], [other, ...rules]);
}

/** Takes the filter of a card's name away. */
export const noPacketFilter = (): Buffer => batch(noTable());

/** The messages that make a card's filter; empty for a card that everything may pass. */
export function packetFilter(filter: NicFilter | undefined): Buffer {
  const redirects = (filter?.ports ?? []).flatMap((port) =>
    // A neighbour may still send what is for an address that the card had before.
    port.to === undefined ? [] : [[...FOR_ITSELF, ...portRule(port, ...redirect(port.to))]],
  );
  if (filter === undefined || (filter.trust === 'open' && redirects.length === 0)) return Buffer.alloc(0);
  const { trust, to, own } = filter;
  const out = outward(filter);
  return batch([
    ...emptyTable(),
    ...(redirects.length > 0 && trust !== 'closed' ? chain('arrive', redirects) : []),
    ...(trust === 'open' ? [] : chain('in', [...inward(filter), [DROP]])),
    ...(out === undefined ? [] : chain('out', [...out, [DROP]])),
    ...(own === undefined ? [] : frameFilter(own, to)),
  ]);
}
