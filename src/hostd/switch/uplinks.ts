/**
 * Port groups that are joined with an interface of the machine, because its administrator said so. The interface itself is not touched: the
 * switch gets a second one on top of it (macvlan, passthru), which takes all of its frames. It goes with the switch's namespace, or when the
 * administrator no longer says so; then the machine has its interface back as it was. When the machine's interface goes, the kernel removes
 * ours with it; when it comes (back), or is brought up, it is joined again: looked for twice a second, since uplinks are few and rare.
 *
 * Facts: ip-link(8). In passthru mode only one such interface can be on top of another, and the machine does not talk to it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
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

/**
 * Removes one. A bridge asks its ports for all multicast, and a macvlan hands that on to the interface below only while it is up. So it is up
 * when it joins the bridge and when it leaves, also if the kernel takes the bridge away first: else the machine's interface would keep it.
 */
export const removedUplink = (port: string): string[] => [`link set ${port} nomaster`, `link delete ${port}`];

const IS_UPLINK = /^up[0-9a-f]{10}$/;
const LOOK_MS = 500;
/** One that cannot be joined although it is there may be somebody else's for now: tried again after so many looks. */
const PATIENCE = 20;
/** IFF_UP of linux/if.h. */
const UP = 1;

/** Whom a port group's interface is given to. */
type Joined = (port: string) => Promise<void>;

/** A port group that is to be joined now. */
interface Place {
  uplink: Uplink;
  joined: Joined;
  /** The machine's interface when it was last tried, as {@link Uplinks.state} tells it. */
  seen: string;
  /** Looks since then. */
  looks: number;
  /** '' if it is joined. */
  problem: string;
}

export class Uplinks {
  private readonly places = new Map<string, Place>();
  private timer: NodeJS.Timeout | undefined;

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

  /** What is missing, as text for a user. */
  get problems(): string[] {
    return [...this.places.values()].flatMap(({ problem }) => (problem === '' ? [] : problem));
  }

  /** Removes what an earlier hostd joined and what is no longer wanted. */
  async open(): Promise<void> {
    await this.keep(this.wanted.map(({ portGroup }) => uplinkPort(portGroup)));
  }

  /** Gives all interfaces back, also if a process that is still in the switch's namespace keeps that alive. */
  async close(): Promise<void> {
    clearTimeout(this.timer);
    this.places.clear();
    await this.keep([]).catch(() => undefined);
  }

  private async keep(names: readonly string[]): Promise<void> {
    const there = await this.show(['-n', this.namespace]);
    const old = there.filter(({ ifname }) => IS_UPLINK.test(ifname) && !names.includes(ifname));
    await ipTry(
      this.namespace,
      old.flatMap(({ ifname }) => removedUplink(ifname)),
    );
  }

  /**
   * Joins a port group, if it is to be joined, now and whenever its interface comes back. What cannot be joined is reported.
   * @param joined plugs the switch's interface, which is made first, into the port group's bridge
   */
  async provide(portGroup: string, joined: Joined): Promise<void> {
    const uplink = this.wanted.find((one) => one.portGroup === portGroup);
    if (uplink === undefined) return;
    const place: Place = { uplink, joined, seen: '', looks: 0, problem: '' };
    this.places.set(portGroup, place);
    await this.join(place);
    this.watch();
  }

  /** The port group is gone. @returns the interface that is to be removed with it */
  forget(portGroup: string): string[] {
    return this.places.delete(portGroup) ? [uplinkPort(portGroup)] : [];
  }

  private watch(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.look().finally(() => {
        if (this.places.size > 0) this.watch();
      });
    }, LOOK_MS).unref();
  }

  private async look(): Promise<void> {
    for (const place of this.places.values()) {
      const seen = await this.state(place.uplink.interface).catch(() => place.seen);
      place.looks++;
      if (seen !== place.seen || (place.problem !== '' && seen !== '' && place.looks >= PATIENCE))
        await this.join(place);
    }
  }

  private async join(place: Place): Promise<void> {
    const { uplink, joined } = place;
    const { portGroup, interface: name } = uplink;
    const before = place.problem;
    try {
      place.looks = 0;
      place.seen = await this.state(name);
      await this.make(uplink, place.seen);
      await joined(uplinkPort(portGroup));
      place.problem = '';
      // Its port group may have been removed meanwhile.
      if (this.places.get(portGroup) !== place) await ipTry(this.namespace, removedUplink(uplinkPort(portGroup)));
      if (before !== '') log.info({ portGroup, interface: name }, 'a port group is joined with its interface now');
    } catch (error) {
      place.problem = `Container networks: ${portGroup} is not joined with ${name} (${messageOf(error).split('\n')[0]})`;
      if (place.problem !== before) log.error({ portGroup, interface: name }, place.problem);
    }
  }

  /** Which interface of that name the machine has, and whether it is up; '' if it has none. */
  private async state(name: string): Promise<string> {
    if (this.machine !== undefined) {
      const [below] = await this.show(['-n', this.machine], name).catch((): Shown[] => []);
      return below === undefined ? '' : `${below.ifindex} ${below.flags.includes('UP')}`;
    }
    const read = (file: string): Promise<string> => readFile(`/sys/class/net/${name}/${file}`, 'utf8');
    const found = await Promise.all([read('ifindex'), read('flags')]).catch(() => null);
    return found === null ? '' : `${found[0].trim()} ${(Number(found[1]) & UP) !== 0}`;
  }

  /** @param seen what {@link state} tells of the machine's interface @throws unavailable, internal */
  private async make({ portGroup, interface: name }: Uplink, seen: string): Promise<void> {
    const [index = '', up] = seen.split(' ');
    if (index === '') throw unavailable('there is no such interface');
    if (up !== 'true') throw unavailable('the interface is down');
    const port = uplinkPort(portGroup);
    const [present] = await this.show(['-n', this.namespace], port).catch((): Shown[] => []);
    if (present?.link_index === Number(index)) return;
    await ipTry(this.namespace, removedUplink(port));
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

  /** @param name of a single one: a list of all fails while the namespace of somebody else's interface is being removed @throws internal */
  private async show(place: string[], name?: string): Promise<Shown[]> {
    const which = name === undefined ? [] : ['dev', name];
    return JSON.parse((await ip(...place, '-json', 'link', 'show', ...which)) || '[]') as Shown[];
  }
}
