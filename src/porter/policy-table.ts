/**
 * A policy at the gateway, as nftables rules in its network namespace: what containers may send to the outside, and what the outside may send to
 * them. The chains come before those that hand flows to the relay; what the relay itself sends to a container passes the second one.
 *
 * Flows that were let through once stay: connection tracking knows them.
 */
import { execFile, spawn } from 'node:child_process';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { internal, messageOf, unsupported } from '../common/errors.js';
import type { GatewayPolicy } from '../common/policy/compiled.js';
import {
  classId,
  counterName,
  judgeChains,
  pairElements,
  parseCounters,
  parsePresent,
  type RuleCount,
  replaceTable,
  type Style,
  type TableText,
} from '../common/policy/nft-rules.js';
import { PolicyLog } from '../common/policy/policy-log.js';
import type { ProbePacket } from '../common/policy/probe-packet.js';
import { deciderOf } from '../common/policy/trace-lines.js';
import { type TraceWatch, watchTrace } from '../common/policy/watch-trace.js';

export const TABLE = 'inet caisson_policy';
const TRACE_TABLE = 'inet caisson_trace';

const STYLE: Style = {
  // The mark is the relay's to set.
  accept: 'meta mark set 0 accept',
  reject: ['meta l4proto tcp reject with tcp reset', 'reject with icmpx type admin-prohibited'],
  stateless: false,
};
const NEIGHBOURS =
  'icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept';

/** The table for a policy. */
export function gatewayTable(policy: GatewayPolicy): TableText {
  const chains = judgeChains(policy, STYLE);
  chains.set('from_container', [
    // What the relay hands to itself has been judged before.
    'iifname "lo" accept',
    NEIGHBOURS,
    'ct state established,related accept',
    'fib daddr type { broadcast, multicast } accept',
    // The gateway's own services: names, and whether it is there.
    'fib daddr . iif type local meta l4proto { tcp, udp } th dport 53 accept',
    'fib daddr . iif type local icmp type echo-request accept',
    'fib daddr . iif type local icmpv6 type echo-request accept',
    'meta mark set 0',
    'meta priority set 0',
    'meta mark set ip saddr map @senders4',
    'meta mark set ip6 saddr map @senders6',
    `meta mark 0 counter name ${counterName('unlisted')} drop`,
    ...['outside', 'learned', 'receivers'].flatMap((name) => [
      `meta priority set ip daddr map @${name}4`,
      `meta priority set ip6 daddr map @${name}6`,
    ]),
    'goto judge',
  ]);
  chains.set('to_container', [
    'oifname "lo" accept',
    NEIGHBOURS,
    'ct state established,related accept',
    // Answers of the server of names, which hostd's rules keep out of connection tracking.
    'ct state untracked fib saddr type local meta l4proto { tcp, udp } th sport 53 accept',
    'meta priority set 0',
    'meta priority set ip daddr map @receivers4',
    'meta priority set ip6 daddr map @receivers6',
    'meta priority 0 accept',
    'meta mark set 0',
    ...['callers', 'senders'].flatMap((name) => [
      `meta mark set ip saddr map @${name}4`,
      `meta mark set ip6 saddr map @${name}6`,
    ]),
    'goto judge',
  ]);
  const filled = new Map([['pairs', 'type mark . classid : verdict;']]);
  const elements: TableText['elements'] = [...pairElements(policy, false)];
  for (const [family, type] of [
    [4, 'ipv4_addr'],
    [6, 'ipv6_addr'],
  ] as const) {
    const mine = <T extends [string, ...unknown[]]>(all: readonly T[]): T[] =>
      all.filter(([one]) => isIP(one) === family);
    const range = (first: string, last: string): string => (first === last ? first : `${first}-${last}`);
    filled.set(`senders${family}`, `type ${type} : mark;`);
    filled.set(`receivers${family}`, `type ${type} : classid;`);
    filled.set(`callers${family}`, `type ${type} : mark; flags interval;`);
    filled.set(`outside${family}`, `type ${type} : classid; flags interval;`);
    filled.set(`learned${family}`, `type ${type} : classid; flags timeout;`);
    const [containers, outside, learned] = [mine(policy.containers), mine(policy.outside), mine(policy.learned)];
    elements.push(
      [`senders${family}`, containers.map(([one, group]) => `${one} : ${group}`)],
      [`receivers${family}`, containers.map(([one, group]) => `${one} : ${classId(group)}`)],
      [`callers${family}`, outside.map(([first, last, group]) => `${range(first, last)} : ${group}`)],
      [`outside${family}`, outside.map(([first, last, group]) => `${range(first, last)} : ${classId(group)}`)],
      [`learned${family}`, learned.map(([one, group, seconds]) => `${one} timeout ${seconds}s : ${classId(group)}`)],
    );
  }
  return {
    table: TABLE,
    filled,
    kept: new Map(),
    counters: [...new Set([...policy.rules.map(({ id }) => counterName(id)), counterName('unlisted')])],
    hooks: new Map([
      ['from_container', 'type filter hook prerouting priority -160; policy accept;'],
      ['to_container', 'type filter hook output priority 0; policy accept;'],
    ]),
    chains,
    elements,
  };
}

/** The policy of one gateway. */
export class GatewayTable {
  private policy: GatewayPolicy | null = null;
  private trace: { watch: TraceWatch } | null = null;
  private turn: Promise<unknown> = Promise.resolve();
  private readonly logs: PolicyLog;

  /** @param netns path of its network namespace */
  constructor(
    private readonly netns: string,
    logs = new PolicyLog(netns),
  ) {
    this.logs = logs;
  }

  close(): void {
    this.logs.close();
  }

  /** Enforces a policy; null: none. @throws unsupported if this machine cannot do it; the one before stays */
  set(policy: GatewayPolicy | null): Promise<void> {
    const done = this.turn.then(() => this.put(policy));
    this.turn = done.catch(() => undefined);
    return done;
  }

  /** What each rule has decided about, by its id. */
  async counts(): Promise<Map<string, RuleCount>> {
    if (this.policy === null) return new Map();
    const json = await this.run('nft', '--json', 'list', 'counters', 'table', ...TABLE.split(' '));
    return parseCounters(json, [...this.policy.rules.map(({ id }) => id), 'unlisted']);
  }

  /** Watches for a packet from now on, until {@link endTrace}. */
  async beginTrace({ protocol, from, to, sourcePort, port }: ProbePacket): Promise<void> {
    await this.endTrace();
    const ip = isIP(from) === 6 ? 'ip6' : 'ip';
    const icmp = isIP(from) === 6 ? 'icmpv6' : 'icmp';
    const like =
      protocol === 'icmp' ? `${icmp} id ${sourcePort}` : `${protocol} sport ${sourcePort} ${protocol} dport ${port}`;
    await this.nft(
      [
        `add table ${TRACE_TABLE}`,
        `add chain ${TRACE_TABLE} watched { type filter hook prerouting priority -390; }`,
        `flush chain ${TRACE_TABLE} watched`,
        `add rule ${TRACE_TABLE} watched ${ip} saddr ${from} ${ip} daddr ${to} ${like} meta nftrace set 1`,
      ].join('\n'),
    );
    this.trace = { watch: await watchTrace(this.netns) };
  }

  /** What has become of the packet; `seen`: it came. `rule`: the place of the rule that has decided. */
  async endTrace(): Promise<{ seen: boolean; rule?: number; droppedIn?: string }> {
    const { trace } = this;
    if (trace === null) return { seen: false };
    this.trace = null;
    const { watch } = trace;
    await watch.until((steps) => deciderOf(steps, TABLE) !== undefined, 500);
    watch.close();
    await this.nft(`delete table ${TRACE_TABLE}`);
    const rule = deciderOf(watch.steps, TABLE);
    const drop = watch.steps.find(({ verdict, table }) => verdict === 'drop' && table === TABLE);
    return {
      seen: watch.steps.length > 0,
      ...(rule === undefined ? {} : { rule }),
      ...(drop === undefined ? {} : { droppedIn: `${drop.table} ${drop.chain}` }),
    };
  }

  private async put(policy: GatewayPolicy | null): Promise<void> {
    try {
      const there = JSON.parse(await this.run('nft', '--json', 'list', 'tables')) as {
        nftables: { table?: { family: string; name: string } }[];
      };
      const exists = there.nftables.some(
        ({ table }) => table !== undefined && `${table.family} ${table.name}` === TABLE,
      );
      if (policy === null) {
        if (exists) await this.nft(`delete table ${TABLE}`);
      } else {
        const present = exists
          ? parsePresent(await this.run('nft', '--json', '--terse', 'list', 'table', ...TABLE.split(' ')))
          : { chains: [], counters: [] };
        await this.nft(replaceTable(gatewayTable(policy), present));
      }
      this.policy = policy;
      this.logs.follow(TABLE, policy?.rules ?? null);
    } catch (error) {
      throw unsupported(`the policy cannot be enforced at the gateway: ${messageOf(error).split('\n')[0]}`, error);
    }
  }

  private async run(...command: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('nsenter', [`--net=${this.netns}`, '--', ...command], {
      maxBuffer: 64 * 2 ** 20,
    });
    return stdout;
  }

  private nft(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = spawn('nsenter', [`--net=${this.netns}`, '--', 'nft', '-f', '-'], {
        stdio: ['pipe', 'ignore', 'pipe'],
      });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (part: string) => {
        if (said.length < 2000) said += part;
      });
      child.on('error', reject);
      child.on('close', (code) => (code === 0 ? resolve() : reject(internal(said.trim()))));
      child.stdin.on('error', () => undefined);
      child.stdin.end(`${text}\n`);
    });
  }
}
