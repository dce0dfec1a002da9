/**
 * Sends a packet on a container's behalf and watches its way over the switch. The packet enters the container's bridge by a port of its own,
 * which has the group of the container's card and is removed again; it leaves to whoever has the destination's MAC address. The receiver gets
 * it like any other packet.
 */
import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { z } from 'zod';
import { invalid, notFound } from '../../common/errors.js';
import { probeFrame } from '../../common/policy/probe-packet.js';
import { deciderOf } from '../../common/policy/trace-lines.js';
import { watchTrace } from '../../common/policy/watch-trace.js';
import { ip, ipBatch, ipTry, nft, nftCounters, shellIn } from './ip.js';

const mac = z.string().regex(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/);
const address = z.string().refine((text) => isIP(text) !== 0 && !text.includes('%'));
const port = z.number().int().min(0).max(65_535);
const request = z.object({
  /** `gateway`: that of the other's network. */
  fromMac: z.union([mac, z.literal('gateway')]),
  toMac: z.union([mac, z.literal('gateway')]),
  packet: z.object({
    protocol: z.enum(['tcp', 'udp', 'icmp']),
    from: address,
    to: address,
    sourcePort: port,
    port,
    answer: z.boolean().optional(),
  }),
});

export type ProbeRequest = z.output<typeof request>;

/** @throws invalid */
export function readProbe(raw: unknown): ProbeRequest {
  const read = request.safeParse(raw);
  if (!read.success || isIP(read.data.packet.from) !== isIP(read.data.packet.to)) throw invalid('not a packet to send');
  if (read.data.fromMac === 'gateway' && read.data.toMac === 'gateway') throw invalid('not a packet between two cards');
  return read.data;
}

/** What became of the packet. */
export interface ProbeResult {
  /** The place in the policy's rules of the one that has decided; undefined: none was asked. */
  rule?: number | undefined;
  /** Whether it left the switch by the receiver's port. */
  delivered: boolean;
  /** Where it was dropped: table and chain. */
  droppedIn?: string | undefined;
}

const TABLE = 'bridge caisson_trace';
const WAIT_MS = 2000;

/** Sends a frame by an interface: AF_PACKET, SOCK_RAW, sockaddr_ll. */
const SEND = `use strict; my ($index, $hex) = @ARGV; socket(my $s, 17, 3, 0) or die "socket: $!";
defined send($s, pack("H*", $hex), 0, pack("S n i S C C a8", 17, 0, $index, 0, 0, 0, "")) or die "send: $!";`;

/** The packet where the port that it came in by is no longer known. */
function likeness({ protocol, to, sourcePort, port: number }: ProbeRequest['packet']): string {
  if (protocol !== 'icmp') return `${protocol} sport ${sourcePort} ${protocol} dport ${number}`;
  return isIP(to) === 6 ? `icmpv6 id ${sourcePort}` : `icmp id ${sourcePort}`;
}

/** Where the sender is plugged in, and whether its network lets containers reach each other. @throws notFound */
async function portOf(namespace: string, port: string): Promise<{ bridge: string; isolated: boolean }> {
  const shown = await ip('-n', namespace, '-details', '-json', 'link', 'show', 'dev', port).catch(() => '[]');
  const [{ master = '', linkinfo = {} } = {}] = JSON.parse(shown) as {
    master?: string;
    linkinfo?: { info_slave_data?: { isolated?: boolean } };
  }[];
  if (!/^[\w.-]+$/.test(master)) throw notFound('the container has no port on the switch');
  return { bridge: master, isolated: linkinfo.info_slave_data?.isolated === true };
}

/**
 * @param ports of the sender and the receiver on the switch
 * @param table of the policy; undefined: there is none
 * @param group the sender's elements for another port: as text for `nft -f`
 */
export async function sendProbe(
  { namespace, path }: { namespace: string; path: string },
  { fromMac, toMac, packet }: ProbeRequest,
  ports: { from: string; to: string | undefined },
  table: string | undefined,
  elements: (port: string) => { add: string[]; remove: string[] },
): Promise<ProbeResult> {
  const { bridge, isolated } = await portOf(namespace, ports.from);
  const one = `tq${randomBytes(4).toString('hex')}`;
  const other = `${one}x`;
  const own = elements(one);
  const setUp = [
    `add table ${TABLE}`,
    `add counter ${TABLE} ${one}`,
    `add chain ${TABLE} ${one} { type filter hook prerouting priority -310; }`,
    `add chain ${TABLE} ${other} { type filter hook postrouting priority 310; }`,
    `add rule ${TABLE} ${one} iifname "${one}" meta nftrace set 1`,
    ...(ports.to === undefined
      ? []
      : [
          `add rule ${TABLE} ${other} oifname "${ports.to}" ether saddr ${fromMac} ${likeness(packet)} counter name ${one}`,
        ]),
    ...own.add,
  ];
  const takeDown = [
    ...own.remove,
    `delete chain ${TABLE} ${one}`,
    `delete chain ${TABLE} ${other}`,
    `delete counter ${TABLE} ${one}`,
  ];
  const watch = await watchTrace(path);
  try {
    await ipBatch(namespace, [
      `link add ${one} type veth peer name ${other}`,
      `link set ${one} addrgenmode none`,
      `link set ${other} addrgenmode none`,
      `link set ${one} master ${bridge}`,
      `link set ${one} type bridge_slave isolated ${isolated ? 'on' : 'off'} learning off flood off mcast_flood off bcast_flood off`,
      `link set ${other} up`,
      `link set ${one} up`,
    ]);
    await nft(path, setUp.join('\n'));
    const index = (await shellIn(path, `ip -o link show ${other} | cut -d: -f1`)).trim();
    await shellIn(
      path,
      `perl -e '${SEND.replaceAll("'", '')}' ${index} ${probeFrame(fromMac, toMac, packet).toString('hex')}`,
    );
    // A bridge forwards at once; only the report takes time.
    const ended = (): boolean => watch.steps.some(({ verdict }) => verdict === 'drop');
    let delivered = false;
    const counted = async (): Promise<boolean> => {
      const json = JSON.parse(await nftCounters(path, TABLE)) as {
        nftables: { counter?: { name: string; packets: number } }[];
      };
      return json.nftables.some(({ counter }) => counter?.name === one && counter.packets > 0);
    };
    for (const until = Date.now() + WAIT_MS; !delivered && !ended() && Date.now() < until; ) {
      await watch.until(ended, 100);
      delivered = await counted();
    }
    if (table !== undefined) await watch.until((steps) => deciderOf(steps, table) !== undefined, 300);
    const drop = watch.steps.find(({ verdict }) => verdict === 'drop');
    return {
      delivered,
      rule: table === undefined ? undefined : deciderOf(watch.steps, table),
      droppedIn: drop === undefined ? undefined : `${drop.table} ${drop.chain}`,
    };
  } finally {
    watch.close();
    await nft(path, takeDown.join('\n')).catch(() => undefined);
    await ipTry(namespace, [`link delete ${one}`]);
  }
}
