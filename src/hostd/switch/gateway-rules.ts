/**
 * What containers may say to their gateway, as nftables rules in the endpoint VM's namespace: only what it serves, on the address that it
 * has on their own network. Networks never meet there. The namespace has no routes but to its networks, and forwards nothing.
 *
 * Facts: nft(8) (fib, socket, ct), ip-sysctl.
 */

/** Family and name. Other programs have tables of their own there. */
export const GATEWAY_TABLE = 'inet caisson_gateway';

/** Marks packets that a rule of the relay gives to one of its sockets (tproxy). */
export const RELAY_MARK = 0x2000_0000;

/** Ports that the gateway serves. Whoever serves more adds elements, which stay. */
const SERVICES = { tcp_services: [53], udp_services: [53] } as const;

const CHAINS = {
  guard: {
    hook: 'type filter hook prerouting priority -300; policy accept;',
    rules: [
      'iif lo accept',
      // The address of another card: the gateway of another network.
      'fib daddr type local fib daddr . iif type != local drop',
      // Somebody on another network. The asker's own neighbours are `refused` below.
      'fib daddr type unicast fib daddr . iif oif missing fib daddr oifname "eth*" drop',
      // Otherwise a container could fill the table of connections with questions.
      'fib daddr type local tcp dport @tcp_services notrack',
      'fib daddr type local udp dport @udp_services notrack',
    ],
  },
  refused: {
    // After connection tracking, which then knows the answer as one, and before everybody else's rules.
    hook: 'type filter hook prerouting priority -190; policy accept;',
    rules: [
      'iif lo accept',
      // What a policy refuses between two containers comes here instead of to its receiver (`policy-rules.ts`): it is answered.
      'fib daddr type unicast fib daddr . iif oif exists meta l4proto tcp reject with tcp reset',
      'fib daddr type unicast fib daddr . iif oif exists reject with icmpx type admin-prohibited',
    ],
  },
  answers: {
    hook: 'type filter hook output priority -300; policy accept;',
    rules: ['tcp sport @tcp_services notrack', 'udp sport @udp_services notrack'],
  },
  input: {
    hook: 'type filter hook input priority 0; policy drop;',
    rules: [
      'iif lo accept',
      'ct state established,related accept',
      'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
      // What the relay has redirected to itself, and answers to connections that it made under a client's address.
      'ct status dnat accept',
      `meta mark & ${RELAY_MARK} != 0 accept`,
      'socket transparent 1 socket wildcard 0 accept',
      'fib daddr . iif type != local drop',
      'icmp type echo-request accept',
      'icmpv6 type echo-request accept',
      'tcp dport @tcp_services accept',
      'udp dport @udp_services accept',
    ],
  },
} as const;

/** Makes the table, or puts these rules into an existing one, whose sets keep their elements. */
export function gatewayText(): string {
  const lines = [`add table ${GATEWAY_TABLE}`];
  for (const [name, ports] of Object.entries(SERVICES))
    lines.push(
      `add set ${GATEWAY_TABLE} ${name} { type inet_service; }`,
      `add element ${GATEWAY_TABLE} ${name} { ${ports.join(', ')} }`,
    );
  for (const [name, { hook, rules }] of Object.entries(CHAINS)) {
    lines.push(`add chain ${GATEWAY_TABLE} ${name} { ${hook} }`, `flush chain ${GATEWAY_TABLE} ${name}`);
    for (const rule of rules) lines.push(`add rule ${GATEWAY_TABLE} ${name} ${rule}`);
  }
  return lines.join('\n');
}
