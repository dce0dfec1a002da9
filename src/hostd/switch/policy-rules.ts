/**
 * A virtual container host's policy on the switch, as nftables rules of the bridge family: what its containers' cards may send to each other.
 * Flows to and from the gateway's card are the gateway's to judge.
 *
 * Cards are known by their interfaces and MAC addresses, which the source checks and the bridge bind to each other, so nobody gets another's
 * group. There is no connection tracking in the bridge family on every kernel, so answers are recognised without it: a TCP packet that does not
 * open a connection passes if its opposite would, and UDP answers by the flows that were let through a short time ago.
 *
 * What is to be refused with an answer is sent to the gateway's card instead of the receiver's: the gateway answers it (`gateway-rules.ts`). Not
 * every kernel can do so on a bridge.
 */
import type { SwitchPolicy } from '../../common/policy/compiled.js';
import {
  classId,
  counterName,
  judgeChains,
  pairElements,
  type Style,
  type TableText,
} from '../../common/policy/nft-rules.js';

/** A card on the switch. */
export interface PolicyCard {
  /** Its interface. */
  port: string;
  mac: string;
  /** MAC address of the gateway's card on its network; undefined: there is none, and what is refused is only dropped. */
  gateway?: string | undefined;
}

/** The group of cards that the policy does not know (yet). No group of a policy has this number. */
const UNLISTED = 0xffff;
const UDP_FLOWS = 65_536;
const UDP_SECONDS = 120;

/** Neighbour discovery, multicast listeners. */
const NEIGHBOURS =
  'icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }';

const STYLE: Style = {
  accept: 'accept',
  // A copy of a broadcast is on its way to one port already. Without a gateway the second rule is the one that holds.
  reject: ['meta pkttype != { broadcast, multicast } ether daddr set iifname map @gateways accept', 'drop'],
  stateless: true,
};

/** @param key of the virtual container host: letters, digits */
export const tableName = (key: string): string => `bridge caisson_policy_${key}`;

/** @param cards all connected cards of the virtual container host's VMs, without the endpoint's own */
export function switchTable(key: string, policy: SwitchPolicy, cards: readonly PolicyCard[]): TableText {
  const chains = judgeChains(policy, STYLE);
  chains.set('unlisted', [`counter name ${counterName('unlisted')} drop`]);
  chains.set('from_card', [
    // These are judged below, for each card that gets one.
    'meta pkttype { broadcast, multicast } accept',
    ...judged('ether daddr map @receivers'),
  ]);
  chains.set('to_card', ['meta pkttype != { broadcast, multicast } accept', ...judged('oifname map @ports')]);
  const groups = cards.map((card) => ({ ...card, group: policy.cards[card.mac.toLowerCase()] ?? UNLISTED }));
  return {
    table: tableName(key),
    filled: new Map([
      ['cards', 'type ifname : mark;'],
      ['ports', 'type ifname : classid;'],
      ['receivers', 'type ether_addr : classid;'],
      ['pairs', 'type mark . classid : verdict;'],
      ['back', 'type classid . mark : verdict;'],
      ['gateways', 'type ifname : ether_addr;'],
    ]),
    kept: new Map([
      ['udp4', flows('ipv4_addr')],
      ['udp6', flows('ipv6_addr')],
    ]),
    counters: [...new Set([...policy.rules.map(({ id }) => counterName(id)), counterName('unlisted')])],
    hooks: new Map([
      ['from_card', 'type filter hook prerouting priority -290; policy accept;'],
      ['to_card', 'type filter hook forward priority 0; policy accept;'],
    ]),
    chains,
    elements: [
      ['cards', groups.map(({ port, group }) => `"${port}" : ${group}`)],
      ['ports', groups.map(({ port, group }) => `"${port}" : ${classId(group)}`)],
      ['receivers', groups.map(({ mac, group }) => `${mac.toLowerCase()} : ${classId(group)}`)],
      ['gateways', groups.flatMap(({ port, gateway }) => (gateway === undefined ? [] : [`"${port}" : ${gateway}`]))],
      ...pairElements(policy, true),
    ],
  };
}

/** What leads a packet to its verdict. @param receiver how the receiver's group is found */
const judged = (receiver: string): string[] => [
  'meta mark set 0',
  'meta priority set 0',
  'ether type != { ip, ip6 } accept',
  `${NEIGHBOURS} accept`,
  'meta mark set iifname map @cards',
  `meta priority set ${receiver}`,
  'meta mark 0 accept',
  'meta priority 0 accept',
  `meta mark ${UNLISTED} goto unlisted`,
  `meta priority ${classId(UNLISTED)} goto unlisted`,
  'goto judge',
];

const flows = (address: string): string =>
  `type ${address} . inet_service . ${address} . inet_service; flags dynamic,timeout; size ${UDP_FLOWS}; timeout ${UDP_SECONDS}s;`;

/** More cards, and cards that are gone, as text for `nft -f`. */
export function cardsText(key: string, policy: SwitchPolicy, cards: readonly PolicyCard[]): string {
  const table = tableName(key);
  return cards
    .flatMap(({ port, mac, gateway }) => {
      const group = policy.cards[mac.toLowerCase()] ?? UNLISTED;
      return [
        ...(gateway === undefined ? [] : [`add element ${table} gateways { "${port}" : ${gateway} }`]),
        `add element ${table} cards { "${port}" : ${group} }`,
        `add element ${table} ports { "${port}" : ${classId(group)} }`,
        `add element ${table} receivers { ${mac.toLowerCase()} : ${classId(group)} }`,
      ];
    })
    .join('\n');
}

/** The element that gives another port, as a sender, the group of a card: what comes after `add element`. */
export function cardElements(key: string, policy: SwitchPolicy, { port, mac, gateway }: PolicyCard): string[] {
  const table = tableName(key);
  return [
    `${table} cards { "${port}" : ${policy.cards[mac] ?? UNLISTED} }`,
    ...(gateway === undefined ? [] : [`${table} gateways { "${port}" : ${gateway} }`]),
  ];
}
