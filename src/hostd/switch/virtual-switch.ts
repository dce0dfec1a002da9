/**
 * The virtual switch: port groups as bridges in a network namespace of their own, a tap for each connected card of a VM, and for
 * each endpoint VM a namespace with one veth per card.
 *
 * Relies on `ip` (iproute2) and root. Never: touches the machine's own interfaces, routes or firewall, or gives a bridge an
 * address (no VM reaches this machine through it). What an earlier hostd made, also one that was killed half way, is found by its
 * names and used again or replaced.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { internal, notFound } from '../../common/errors.js';
import type { RuntimeNic } from '../runtime.js';
import { interfaces, ip, ipBatch, ipTry } from './ip.js';

/** Where `ip netns` keeps its names. */
const NAMESPACES = '/run/netns';

/** Keeps the kernel from giving the namespace's own end of a card an IPv6 address: a card belongs to its VM alone. */
const noAddress = (link: string): string[] =>
  existsSync('/proc/sys/net/ipv6') ? [`link set ${link} addrgenmode none`] : [];

/** One instance's switch. All calls may be repeated: what is there already stays. */
export class VirtualSwitch {
  readonly namespace: string;
  private readonly bridges = new Map<string, string>();
  /** Interfaces of VMs' cards that are known to be there, by VM. */
  private readonly ports = new Map<string, string[]>();
  private opened: Promise<void> | null = null;

  /** @param instance short name (`InstancePaths.instance`) */
  constructor(instance: string) {
    this.namespace = `csn-${instance}`;
  }

  /** Path for `nsenter --net=`. */
  get path(): string {
    return `${NAMESPACES}/${this.namespace}`;
  }

  /** Makes the namespace. @throws internal */
  open(): Promise<void> {
    this.opened ??= ensureNamespace(this.namespace).catch((error: unknown) => {
      this.opened = null;
      throw error;
    });
    return this.opened;
  }

  /** Names of the port groups. */
  list(): string[] {
    return [...this.bridges.keys()];
  }

  /** Makes a port group's bridge. @throws internal */
  async addPortGroup(name: string): Promise<void> {
    if (this.bridges.has(name)) return;
    await this.open();
    const bridge = bridgeName(name);
    if (!(await interfaces(this.namespace)).includes(bridge)) {
      await ipBatch(this.namespace, [
        `link add ${bridge} type bridge forward_delay 0 mcast_snooping 0`,
        ...noAddress(bridge),
      ]);
    }
    await ipBatch(this.namespace, [`link set ${bridge} up`]);
    this.bridges.set(name, bridge);
  }

  async removePortGroup(name: string): Promise<void> {
    const bridge = this.bridges.get(name);
    if (bridge === undefined) return;
    this.bridges.delete(name);
    await ipTry(this.namespace, [`link delete ${bridge}`]);
  }

  /**
   * Makes the taps of a VM's connected cards, which root alone may open.
   * @returns tap names by card index
   * @throws notFound for an unknown port group, internal
   */
  async plug(moid: string, nics: RuntimeNic[]): Promise<Map<number, string>> {
    const taps = new Map<number, string>();
    const commands: string[] = [];
    for (const nic of nics.filter((one) => one.connected)) {
      const tap = portName(moid, nic.index);
      taps.set(nic.index, tap);
      commands.push(
        `tuntap add dev ${tap} mode tap`,
        ...noAddress(tap),
        `link set ${tap} master ${this.bridge(nic.portGroup)} up`,
      );
    }
    try {
      await ipBatch(this.namespace, commands);
    } catch {
      // Something of an earlier hostd is in the way.
      await this.unplugStale(moid);
      await ipBatch(this.namespace, commands);
    }
    this.ports.set(moid, [...taps.values()]);
    return taps;
  }

  /**
   * Makes taps that are plugged in nowhere and stay down, for a VM that has yet to become another one.
   * @returns tap names by card index
   * @throws internal
   */
  async plugSpare(moid: string, indexes: number[]): Promise<Map<number, string>> {
    const taps = new Map(indexes.map((index) => [index, portName(moid, index)]));
    const names = [...taps.values()];
    await this.open();
    this.ports.set(moid, names);
    await ipBatch(
      this.namespace,
      names.flatMap((tap) => [`tuntap add dev ${tap} mode tap`, ...noAddress(tap)]),
    );
    return taps;
  }

  /**
   * Makes the taps of `spare` ({@link plugSpare}) those of the VM `moid`, and plugs them in. Whoever has them open keeps them.
   * @throws notFound for an unknown port group, internal
   */
  async handOver(spare: string, moid: string, nics: RuntimeNic[]): Promise<void> {
    const connected = nics.filter((nic) => nic.connected);
    const commands = connected.flatMap((nic) => [
      // One that is up keeps its name.
      `link set ${portName(spare, nic.index)} name ${portName(moid, nic.index)}`,
      `link set ${portName(moid, nic.index)} master ${this.bridge(nic.portGroup)} up`,
    ]);
    try {
      await ipBatch(this.namespace, commands);
    } catch (error) {
      // Done half or not at all: both names are the caller's to unplug.
      await this.adopt(moid);
      throw error;
    }
    this.ports.delete(spare);
    this.ports.set(
      moid,
      connected.map((nic) => portName(moid, nic.index)),
    );
  }

  /** Removes what spare VMs of an earlier hostd had. @param isSpare tells their interfaces by name */
  async unplugSpares(isSpare = /^tpool\d+n\d+$/): Promise<void> {
    await this.open();
    await removeLinks(
      this.namespace,
      (await interfaces(this.namespace)).filter((name) => isSpare.test(name)),
    );
  }

  /** Removes the interfaces of a VM's cards. */
  async unplug(moid: string): Promise<void> {
    const names = this.ports.get(moid) ?? [];
    this.ports.delete(moid);
    await removeLinks(this.namespace, names);
  }

  /** Removes the interfaces of a VM's cards, also those that an earlier hostd made. */
  async unplugStale(moid: string): Promise<void> {
    await this.adopt(moid);
    await this.unplug(moid);
  }

  /** Finds the interfaces of the cards of a VM that runs since before this hostd. */
  async adopt(moid: string): Promise<void> {
    await this.open();
    const prefix = portName(moid, '');
    const names = (await interfaces(this.namespace)).filter(
      (name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)),
    );
    this.ports.set(moid, names);
  }

  /**
   * Makes the namespace of an endpoint VM, with its cards as eth0, eth1, …; one that is there already is replaced.
   * @returns its path
   * @throws notFound for an unknown port group, internal
   */
  async connectEndpoint(moid: string, nics: RuntimeNic[]): Promise<string> {
    await this.disconnectEndpoint(moid);
    const namespace = this.endpointNamespace(moid);
    const connected = nics.filter((nic) => nic.connected);
    const outer = connected.flatMap((nic) => {
      const port = portName(moid, nic.index);
      return [
        `link add ${port} type veth peer name eth${nic.index} netns ${namespace}`,
        ...noAddress(port),
        `link set ${port} master ${this.bridge(nic.portGroup)} up`,
      ];
    });
    const inner = connected.map((nic) => `link set eth${nic.index} address ${nic.mac} up`);
    try {
      await ensureNamespace(namespace);
      await ipBatch(this.namespace, outer);
      await ipBatch(namespace, inner);
    } catch (error) {
      await this.disconnectEndpoint(moid);
      throw error;
    }
    await this.adopt(moid);
    return `${NAMESPACES}/${namespace}`;
  }

  /** The namespace of an endpoint VM that runs since before this hostd, or null when it is not there with all its cards. */
  async adoptEndpoint(moid: string, nics: RuntimeNic[]): Promise<string | null> {
    await this.adopt(moid);
    const namespace = this.endpointNamespace(moid);
    if (!existsSync(`${NAMESPACES}/${namespace}`)) return null;
    const there = await interfaces(namespace).catch((): string[] => []);
    const complete = nics.every((nic) => !nic.connected || there.includes(`eth${nic.index}`));
    return complete ? `${NAMESPACES}/${namespace}` : null;
  }

  /** Removes an endpoint VM's namespace and cards. */
  async disconnectEndpoint(moid: string): Promise<void> {
    // The cards go first: a process that is still in the namespace would keep it, and them, alive.
    await this.unplugStale(moid);
    await deleteNamespace(this.endpointNamespace(moid));
  }

  /** Removes everything of this instance. */
  async remove(): Promise<void> {
    if (!existsSync(NAMESPACES)) return;
    for (const name of readdirSync(NAMESPACES)) {
      if (name === this.namespace || name.startsWith(`${this.namespace}-`)) await deleteNamespace(name);
    }
    this.bridges.clear();
    this.ports.clear();
    this.opened = null;
  }

  private endpointNamespace(moid: string): string {
    return `${this.namespace}-${moid}`;
  }

  private bridge(portGroup: string): string {
    const bridge = this.bridges.get(portGroup);
    if (bridge === undefined) throw notFound(`there is no port group '${portGroup}'`);
    return bridge;
  }
}

/** Makes a network namespace, or repairs a name that is left of one. */
async function ensureNamespace(namespace: string): Promise<void> {
  const lo = ['link set lo up'];
  if (existsSync(`${NAMESPACES}/${namespace}`)) {
    const usable = await ipBatch(namespace, lo).then(
      () => true,
      () => false,
    );
    if (usable) return;
    await deleteNamespace(namespace);
  }
  await ip('netns', 'add', namespace);
  await ipBatch(namespace, lo);
}

async function deleteNamespace(namespace: string): Promise<void> {
  const path = `${NAMESPACES}/${namespace}`;
  if (!existsSync(path)) return;
  // A name whose namespace is not mounted (made half way) makes ip complain, and is a plain file then.
  await ip('netns', 'delete', namespace).catch(() => rm(path, { force: true }));
}

/** Removes interfaces; those that are gone already do not matter. @throws internal when one stays */
async function removeLinks(namespace: string, names: string[]): Promise<void> {
  if (names.length === 0) return;
  const commands = names.map((name) => `link delete ${name}`);
  const done = await ipBatch(namespace, commands).then(
    () => true,
    () => false,
  );
  if (done) return;
  await ipTry(namespace, commands);
  const left = (await interfaces(namespace)).filter((name) => names.includes(name));
  if (left.length > 0) throw internal(`the interfaces ${left.join(', ')} cannot be removed`);
}

/** Interface names have at most 15 bytes. */
function bridgeName(portGroup: string): string {
  return `br${createHash('sha256').update(portGroup).digest('hex').slice(0, 10)}`;
}

/** The switch's interface for a VM's card: `t<number of the VM>n<card>`. */
function portName(moid: string, index: number | ''): string {
  return `t${moid.replace(/^vm-/, '').slice(0, 10)}n${index}`;
}
