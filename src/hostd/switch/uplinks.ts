/**
 * Port groups that are joined with an interface of the machine, because its administrator said so. The interface itself is not touched: the
 * switch gets a second one on top of it (macvlan, passthru), which takes all of its frames. It goes with the switch's namespace, or when the
 * administrator no longer says so; then the machine has its interface back as it was.
 *
 * Facts: ip-link(8). In passthru mode only one such interface can be on top of another, and the machine does not talk to it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { messageOf, unavailable } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { Uplink } from '../uplinks.js';
import { ip, ipBatch, ipTry } from './ip.js';

const log = logger('switch');

/** An interface as `ip -json link` shows it. */
interface Shown {
  ifname: string;
  ifindex: number;
  link_index?: number;
  flags: string[];
}

/** Name of the switch's interface for a port group's uplink. */
export function uplinkPort(portGroup: string): string {
  return `up${createHash('sha256').update(portGroup).digest('hex').slice(0, 10)}`;
}

const IS_UPLINK = /^up[0-9a-f]{10}$/;

export class Uplinks {
  /** What is missing, as text for a user. */
  readonly problems: string[] = [];

  /**
   * @param namespace the switch's
   * @param wanted what the administrator said
   * @param machine name of the namespace with the machine's interfaces; undefined: this process's own
   */
  constructor(
    private readonly namespace: string,
    private readonly wanted: readonly Uplink[],
    private readonly machine?: string,
  ) {}

  /** Removes what an earlier hostd joined and what is no longer wanted. */
  async open(): Promise<void> {
    await this.keep(this.wanted.map(({ portGroup }) => uplinkPort(portGroup)));
  }

  /** Gives all interfaces back, also if a process that is still in the switch's namespace keeps that alive. */
  async close(): Promise<void> {
    await this.keep([]).catch(() => undefined);
  }

  private async keep(names: readonly string[]): Promise<void> {
    const there = await this.show(['-n', this.namespace]);
    const old = there.filter(({ ifname }) => IS_UPLINK.test(ifname) && !names.includes(ifname));
    await ipTry(
      this.namespace,
      old.map(({ ifname }) => `link delete ${ifname}`),
    );
  }

  /** True for a port group that is to be joined. */
  has(portGroup: string): boolean {
    return this.wanted.some((one) => one.portGroup === portGroup);
  }

  /**
   * Makes the switch's interface for a port group, not yet plugged into its bridge. One that an earlier hostd made stays.
   * @returns its name; null if the port group is not to be joined, or cannot be, which is reported
   */
  async provide(portGroup: string): Promise<string | null> {
    const uplink = this.wanted.find((one) => one.portGroup === portGroup);
    if (uplink === undefined) return null;
    try {
      await this.make(uplink);
      return uplinkPort(portGroup);
    } catch (error) {
      const problem = `Container networks: ${portGroup} is not joined with ${uplink.interface} (${messageOf(error).split('\n')[0]})`;
      this.problems.push(problem);
      log.error({ portGroup, interface: uplink.interface }, problem);
      return null;
    }
  }

  /** @throws unavailable, internal */
  private async make({ portGroup, interface: name }: Uplink): Promise<void> {
    const [below] = (await this.show(this.machine === undefined ? [] : ['-n', this.machine])).filter(
      ({ ifname }) => ifname === name,
    );
    if (below === undefined) throw unavailable('there is no such interface');
    if (!below.flags.includes('UP')) throw unavailable('the interface is down');
    const port = uplinkPort(portGroup);
    const [present] = (await this.show(['-n', this.namespace])).filter(({ ifname }) => ifname === port);
    if (present?.link_index === below.ifindex) return;
    await ipTry(this.namespace, [`link delete ${port}`]);
    const on = this.machine === undefined ? [] : ['-n', this.machine];
    await ip(
      ...on,
      'link',
      'add',
      'link',
      name,
      'name',
      port,
      'netns',
      this.namespace,
      'type',
      'macvlan',
      'mode',
      'passthru',
    );
    if (existsSync('/proc/sys/net/ipv6')) await ipBatch(this.namespace, [`link set ${port} addrgenmode none`]);
  }

  private async show(place: string[]): Promise<Shown[]> {
    return JSON.parse((await ip(...place, '-json', 'link', 'show')) || '[]') as Shown[];
  }
}
