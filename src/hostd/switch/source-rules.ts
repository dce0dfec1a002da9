/**
 * Source checks as nftables rules of the bridge family: what a card may send. They run before the bridge sees a frame, so it learns nothing
 * from a dropped one. Everything that is not allowed is dropped. Cards are elements of a few hash sets, so that starting a VM changes no
 * rule, and a frame costs the same with any number of cards.
 *
 * Facts: nft(8); RFC 826 (ARP), 4861 (neighbour discovery: the target of a solicitation or advertisement is at offset 8 of the ICMPv6
 * message), 5227 (ARP probes), 4429/4862 (duplicate address detection), 6105 (RA guard).
 */
import { isIP } from 'node:net';
import { Address6 } from 'ip-address';

/** Family and name. */
export const TABLE = 'bridge caisson';

/** A card of the switch, and what it may send from. */
export interface CardSources {
  mac: string;
  /** IPv4 and IPv6 addresses; undefined: any address. */
  addresses: readonly string[] | undefined;
  /** It may send anything. */
  unchecked?: boolean;
  /** It gets its address by DHCP: it may also use what a server beyond this switch gives it. */
  leased?: boolean;
}

/**
 * The sets, each with the type of its elements. `askers` has the cards that get their addresses by DHCP, with their MAC address as a number.
 * `targets6` has the addresses of `addresses6` as numbers, because nft before 1.0.8 cannot
 * look at an ICMPv6 message's target in any other way.
 */
const SETS = {
  unchecked: 'type ifname;',
  macs: 'type ifname . ether_addr;',
  anyaddress: 'type ifname;',
  addresses4: 'type ifname . ipv4_addr;',
  addresses6: 'type ifname . ipv6_addr;',
  targets6: 'typeof iifname . @th,64,128;',
  askers: 'typeof iifname . @th,288,48;',
} as const;

/**
 * The addresses that DHCP servers have given to cards. The kernel adds them when it sees such an answer; each renewal makes them last, and a
 * guest renews at least twice a day (LONGEST_LEASE in `tether/guest/dhcp_packet.c`).
 */
export const LEASED_SET = 'leased';
const LEASES = `${LEASED_SET} { typeof iifname . @th,192,32; flags dynamic,timeout; timeout 25h; size 65536; }`;

export type SetName = keyof typeof SETS;

/** A card's elements in each of the sets, as nft writes them. */
export type Elements = Map<SetName, Set<string>>;

/**
 * `meta l4proto != 255` (an unassigned number) is true for every packet whose protocol is known. It is unknown if a fragment does not
 * contain all headers before the protocol's own (RFC 7112): what comes after them would pass unchecked.
 */
const CHAINS: Record<string, string[]> = {
  arp_from_card: [
    'arp htype != 1 drop',
    'arp ptype != ip drop',
    'arp hlen != 6 drop',
    'arp plen != 4 drop',
    'iifname . arp saddr ether != @macs drop',
    'iifname @anyaddress accept',
    // A probe for an address does not claim it.
    'arp operation request arp saddr ip 0.0.0.0 accept',
    'iifname . arp saddr ip @addresses4 accept',
    'iifname . @nh,112,32 @leased accept',
    'drop',
  ],
  ip4_from_card: [
    'icmp type { redirect, router-advertisement } drop',
    // What a DHCP client would take for an answer.
    'udp dport 68 drop',
    'meta l4proto != 255 iifname @anyaddress accept',
    // Nobody asks a DHCP server in another's name: it could give away a neighbour's address, or take it back.
    'udp dport 67 ip frag-off & 0x3fff != 0 drop',
    'udp dport 67 iifname . @th,288,48 != @askers drop',
    'meta l4proto != 255 iifname . ip saddr @addresses4 accept',
    'meta l4proto != 255 iifname . @nh,96,32 @leased accept',
    // A question for an address. An asker names itself at the place where the answer names whom it is for.
    'ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 iifname . @th,288,48 @askers accept',
    'drop',
  ],
  ip6_from_card: [
    'icmpv6 type { nd-router-advert, nd-redirect } drop',
    'udp dport 546 drop',
    'meta l4proto != 255 iifname @anyaddress accept',
    'icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets6 drop',
    'meta l4proto != 255 iifname . ip6 saddr @addresses6 accept',
    // Duplicate address detection, only for its own addresses.
    'ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @targets6 accept',
    'ip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report } accept',
    'drop',
  ],
  // An answer (2) for the card's own MAC address, with an address for it. No card can send one: see above.
  leases_to_card: [
    'udp sport 67 udp dport 68 @th,64,8 2 @th,192,32 != 0 oifname . @th,288,48 @askers update @leased { oifname . @th,192,32 }',
  ],
  from_card: [
    'iifname @unchecked accept',
    'iifname . ether saddr != @macs drop',
    // Looks at the frame as it came: with a VLAN tag it is none of these.
    'ether type vmap { arp : jump arp_from_card, ip : jump ip4_from_card, ip6 : jump ip6_from_card }',
  ],
};

/** No other table of the switch has the same priority: chains of one priority were seen to leave each other out. */
const HOOKS: Record<string, string> = {
  from_card: ' { type filter hook prerouting priority -300; policy drop; }',
  leases_to_card: ' { type filter hook forward priority -10; policy accept; }',
};

/**
 * Makes the table, or puts these rules into an existing one, whose elements stay. At any time, frames are checked by either the old or the
 * new rules.
 */
export function tableText(): string {
  const lines = [`add table ${TABLE}`];
  for (const [name, type] of Object.entries(SETS)) lines.push(`add set ${TABLE} ${name} { ${type} }`);
  lines.push(`add set ${TABLE} ${LEASES}`);
  for (const chain of Object.keys(CHAINS)) {
    lines.push(`add chain ${TABLE} ${chain}${HOOKS[chain] ?? ''}`, `flush chain ${TABLE} ${chain}`);
  }
  for (const [chain, rules] of Object.entries(CHAINS))
    for (const rule of rules) lines.push(`add rule ${TABLE} ${chain} ${rule}`);
  return lines.join('\n');
}

/** A card's elements. */
export function elementsOf(port: string, { mac, addresses, unchecked, leased }: CardSources): Elements {
  const elements: Elements = new Map();
  const add = (set: SetName, ...parts: string[]): void => {
    const list = elements.get(set) ?? new Set();
    elements.set(set, list.add([`"${port}"`, ...parts].join(' . ')));
  };
  if (unchecked === true) {
    add('unchecked');
    return elements;
  }
  add('macs', mac.toLowerCase());
  if (leased === true) add('askers', `0x${mac.replaceAll(':', '').toLowerCase()}`);
  if (addresses === undefined) add('anyaddress');
  for (const address of [...(addresses ?? []), linkLocal(mac)]) {
    if (isIP(address) === 4) add('addresses4', address);
    if (isIP(address) !== 6) continue;
    const whole = new Address6(address);
    add('addresses6', whole.correctForm());
    add('targets6', `0x${whole.bigInt().toString(16).padStart(32, '0')}`);
  }
  return elements;
}

/** The link-local address that a system derives from its card's MAC address (RFC 4291, appendix A). */
export function linkLocal(mac: string): string {
  const bytes = mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const group = (high: number, low: number): string => ((high << 8) | low).toString(16);
  return new Address6(`fe80::${group(a ^ 2, b)}:${group(c, 0xff)}:${group(0xfe, d)}:${group(e, f)}`).correctForm();
}

/** Elements to add to a set or remove from it. */
export interface ElementChange {
  verb: 'add' | 'delete';
  set: SetName;
  elements: string[];
}

/** The changes from a card's present elements to its new ones. */
export function changesOf(before: Elements, after: Elements): ElementChange[] {
  const changes: ElementChange[] = [];
  const change = (verb: ElementChange['verb'], all: Elements, but: Elements): void => {
    for (const [set, elements] of all) {
      const changed = [...elements].filter((one) => but.get(set)?.has(one) !== true);
      if (changed.length > 0) changes.push({ verb, set, elements: changed });
    }
  };
  change('delete', before, after);
  change('add', after, before);
  return changes;
}

/** Reads the sets from the output of `nft --json list ruleset`: each card's elements, by its port. */
export function parseElements(json: string): Map<string, Elements> {
  const found = new Map<string, Elements>();
  const { nftables = [] } = JSON.parse(json) as { nftables?: { set?: ListedSet }[] };
  for (const { set } of nftables) {
    if (set === undefined || set.table !== 'caisson' || !(set.name in SETS)) continue;
    const name = set.name as SetName;
    for (const element of set.elem ?? []) {
      const parts = typeof element === 'object' ? element.concat : [element];
      const [port = '', ...rest] = parts.map(String);
      const elements = found.get(port) ?? new Map<SetName, Set<string>>();
      const list = elements.get(name) ?? new Set();
      const digits = DIGITS[name];
      const written = digits === undefined ? rest : rest.map((one) => hexOf(one, digits));
      elements.set(name, list.add([`"${port}"`, ...written].join(' . ')));
      found.set(port, elements);
    }
  }
  return found;
}

interface ListedSet {
  name: string;
  table: string;
  elem?: (string | { concat: (string | number)[] })[];
}

/** nft lists numbers in decimal or hexadecimal, depending on its version. */
const hexOf = (number: string, digits: number): string => `0x${BigInt(number).toString(16).padStart(digits, '0')}`;
/** How many digits the numbers in a set have. */
const DIGITS: Partial<Record<SetName, number>> = { targets6: 32, askers: 12 };
