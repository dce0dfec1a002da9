/**
 * The rules that bring what containers send to the world outside to the relay, as nftables rules of the gateway's namespace. They are in a table
 * of their own and after those of hostd (`guard`) and of policies, so that what those drop never gets here.
 *
 * Facts: nft(8); Linux, Documentation/networking/tproxy.rst.
 */
import type { GatewayCard } from './messages.js';
import type { OutwardPlace } from './relay-process.js';

export const TABLE = 'inet caisson_relay';
/** A packet with this mark is received here, whatever its address; hostd's rules let it pass. */
const HERE = '0x20000000';
/** As {@link HERE}, and the packet must not be divided: `MARK_WHOLE` in `src/relay/receive.c`. */
const WHOLE_HERE = '0x20000001';
const WHOLE = 'ip frag-off & 0x4000 != 0';
/** Of packets that the relay brings in itself: `MARK_BRING_IN` in `src/relay/inner.c`. */
const BROUGHT_IN = '0x60000000';
/** `LOG_GROUP` in `src/relay/inner.c`. */
const LOG_GROUP = 29;
/** Of the route that makes every address one of the namespace's own. */
const ROUTES = 100;

const six = (address: string): boolean => address.includes(':');

function set(name: string, type: string, ranges: readonly string[]): string {
  const elements = ranges.length === 0 ? '' : ` elements = { ${ranges.join(', ')} }`;
  return `  set ${name} { type ${type}; flags interval; auto-merge;${elements} }`;
}

const toRelay = (protocol: string, port: number): string[] => [
  `meta nfproto ipv4 meta l4proto ${protocol} tproxy ip to 127.0.0.1:${port} meta mark set ${HERE} accept`,
  `meta nfproto ipv6 meta l4proto ${protocol} tproxy ip6 to [::1]:${port} meta mark set ${HERE} accept`,
];

/** Of a datagram the relay is to know whether it may be divided. */
const wholeToRelay = (port: number): string =>
  `meta nfproto ipv4 meta l4proto udp ${WHOLE} tproxy ip to 127.0.0.1:${port} meta mark set ${WHOLE_HERE} accept`;

/** The networks on the gateway's cards, as CIDR. */
export function insideOf(cards: Iterable<GatewayCard>): string[] {
  return [...new Set([...cards].flatMap(({ addresses }) => addresses))];
}

/** The whole table, which replaces an earlier one at once. */
export function egressTable(cards: readonly GatewayCard[], { port, logged }: OutwardPlace): string {
  const inside = insideOf(cards);
  const out = port === 0 ? [] : cards.filter(({ egress, internal }) => egress && !internal);
  const names = out.map((card) => `"${card.interface}"`).join(', ');
  const log = `log group ${LOG_GROUP} drop`;
  const chains: [string, string[]][] = [
    [
      'prerouting',
      [
        'type filter hook prerouting priority -150; policy accept;',
        // What belongs to a connection of the relay's.
        `socket transparent 1 ${WHOLE} meta mark set ${WHOLE_HERE} accept`,
        `socket transparent 1 meta mark set ${HERE} accept`,
        ...(port === 0 ? [] : [`iifname "lo" meta mark ${BROUGHT_IN} jump to_relay`]),
        'iifname "lo" accept',
        ...(out.length === 0 ? [] : [`iifname { ${names} } jump outward`]),
      ],
    ],
    [
      'outward',
      [
        'fib daddr type { local, broadcast, multicast, anycast } return',
        'ip6 daddr fe80::/10 return',
        'ip daddr @inside4 return',
        'ip6 daddr @inside6 return',
        ...(logged
          ? [
              `tcp flags & (fin | syn | rst | ack) == syn ${log}`,
              `icmp type echo-request ${log}`,
              `icmpv6 type echo-request ${log}`,
            ]
          : []),
        ...(port === 0 ? [] : ['jump to_relay']),
      ],
    ],
    ['to_relay', port === 0 ? [] : [...toRelay('tcp', port), wholeToRelay(port), ...toRelay('udp', port)]],
  ];
  // A chain is defined before the one that jumps to it.
  const text = chains
    .reverse()
    .map(([name, rules]) => `  chain ${name} {\n${rules.map((one) => `    ${one}\n`).join('')}  }`);
  const sets = [
    set(
      'inside4',
      'ipv4_addr',
      inside.filter((one) => !six(one)),
    ),
    set('inside6', 'ipv6_addr', inside.filter(six)),
  ];
  return [`table ${TABLE}`, `delete table ${TABLE}`, `table ${TABLE} {`, ...sets, ...text, '}', ''].join('\n');
}

/**
 * Prepares the namespace, once: what the rules mark is received there, it forwards nothing between its cards, and a server without rights may
 * listen on low ports. Each setting is tried by itself: the machine may have no IPv6, or let none be written.
 */
export const PREPARE = [
  ...['-4', '-6'].flatMap((family) => [
    `ip ${family} rule list | grep -q 'lookup ${ROUTES}' || ip ${family} rule add fwmark ${HERE}/${HERE} lookup ${ROUTES}`,
    `ip ${family} route replace local default dev lo table ${ROUTES}`,
  ]),
  ...[
    'ipv4/ip_forward 0',
    'ipv6/conf/all/forwarding 0',
    'ipv4/conf/all/rp_filter 0',
    'ipv4/conf/lo/rp_filter 0',
    'ipv4/ip_unprivileged_port_start 0',
  ].map((setting) => {
    const [name = '', value = ''] = setting.split(' ');
    return `echo ${value} >/proc/sys/net/${name}`;
  }),
]
  .map((command) => `{ ${command}; } 2>/dev/null || true`)
  .join('\n');
