/**
 * The virtual switch: port groups as bridges in a network namespace of their own, a tap for each connected card of a VM, and for
 * each endpoint VM a namespace with one veth per card.
 *
 * Relies on `ip`, `bridge` (iproute2) and root. Who is on a network is kept from harming the others by `wiring.ts`. Never: touches the machine's own interfaces, routes or firewall, or gives a bridge an
 * address (no VM reaches this machine through it). What an earlier hostd made, also one that was killed half way, is found by its
 * names and used again or replaced.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { messageOf, notFound } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { RuntimeNic } from '../runtime.js';
import { interfaces, ipBatch, ipTry } from './ip.js';
import { withoutAddress } from './link-messages.js';
import { deleteNamespace, ensureNamespace, NAMESPACES, removeLinks } from './namespaces.js';
import { Netlink, ROUTE } from './netlink.js';
import { REJECT_ALL, type SecurityPolicy } from './security-policy.js';
import { type Plugging, type Port, Wiring } from './wiring.js';

const log = logger('switch');

/** Keeps the kernel from giving our end of a card an IPv6 address: a card belongs to its VM alone. */
const noAddress = (link: string): string[] =>
  existsSync('/proc/sys/net/ipv6') ? [`link set ${link} addrgenmode none`] : [];

/** The switch of one instance. All calls may be repeated: what is there already stays. */
export class VirtualSwitch {
  readonly namespace: string;
  private readonly bridges = new Map<string, string>();
  /** Interfaces of VMs' cards that are known to be there, by VM. */
  private readonly ports = new Map<string, string[]>();
  private readonly netlink = new Netlink();
  private readonly wiring: Wiring;
  private opened: Promise<void> | null = null;

  /** @param instance short name (`InstancePaths.instance`) */
  constructor(instance: string) {
    this.namespace = `csn-${instance}`;
    this.wiring = new Wiring(this.namespace, this.netlink);
  }

  /** Path for `nsenter --net=`. */
  get path(): string {
    return `${NAMESPACES}/${this.namespace}`;
  }

  /** Means of keeping VMs from harming each other that this machine lacks, in words for a user. */
  get lacks(): readonly string[] {
    return this.wiring.lacks;
  }

  /** Makes the namespace. @throws internal */
  open(): Promise<void> {
    this.opened ??= ensureNamespace(this.namespace)
      .then(() => this.wiring.open())
      .catch((error: unknown) => {
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
  async addPortGroup(name: string, policy: SecurityPolicy = REJECT_ALL): Promise<void> {
    if (this.bridges.has(name)) return;
    await this.open();
    const bridge = bridgeName(name);
    const options = this.wiring.bridgeOptions;
    const there = (await interfaces(this.namespace)).includes(bridge);
    await ipBatch(this.namespace, [
      ...(there
        ? [`link set ${bridge} type bridge ${options}`]
        : [`link add ${bridge} type bridge ${options}`, ...noAddress(bridge)]),
      `link set ${bridge} up`,
    ]);
    await this.wiring.setPolicy(name, policy);
    this.bridges.set(name, bridge);
  }

  /** Sets what the cards of a port group may do, plugged-in ones included. @throws internal */
  setPolicy(name: string, policy: SecurityPolicy): Promise<void> {
    return this.wiring.setPolicy(name, policy);
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
    const ports = portsOf(moid, nics);
    const plugging = this.plugging(ports);
    const add = async (): Promise<void> => {
      await this.makeTaps(ports.map(({ name }) => name));
      await this.wiring.add(moid, ports, plugging);
    };
    try {
      await add();
    } catch {
      // An earlier hostd left something in the way.
      await this.unplugStale(moid);
      await add();
    }
    const taps = new Map(ports.map(({ name, nic }) => [nic.index, name]));
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
    await this.makeTaps(names);
    return taps;
  }

  /**
   * Makes the taps of `spare` ({@link plugSpare}) those of the VM `moid`, and plugs them in. Whoever has them open keeps them.
   * @throws notFound for an unknown port group, internal
   */
  async handOver(spare: string, moid: string, nics: RuntimeNic[]): Promise<void> {
    const ports = portsOf(moid, nics);
    const plugging = { ...this.plugging(ports), before: ({ nic }: Port) => portName(spare, nic.index) };
    try {
      await this.wiring.add(moid, ports, plugging);
    } catch (error) {
      // It is half done or not done at all: the caller unplugs both names.
      await this.adopt(moid);
      throw error;
    }
    this.ports.delete(spare);
    this.ports.set(
      moid,
      ports.map(({ name }) => name),
    );
  }

  /**
   * Makes the tap of a card that a running VM gets, and plugs it in.
   * @returns its name; null for a card that is not connected
   * @throws notFound for an unknown port group, internal; nothing of it stays then
   */
  async plugCard(moid: string, nic: RuntimeNic): Promise<string | null> {
    const [port] = portsOf(moid, [nic]);
    if (port === undefined) return null;
    const plugging = this.plugging([port]);
    // One that a killed hostd left is in the way.
    await this.unplugCard(moid, nic.index);
    try {
      await this.makeTaps([port.name]);
      await this.wiring.addPort(moid, port, plugging);
    } catch (error) {
      await this.unplugCard(moid, nic.index);
      throw error;
    }
    this.ports.set(moid, [...(this.ports.get(moid) ?? []), port.name]);
    return port.name;
  }

  /** Removes the tap of a card that a running VM has lost. */
  async unplugCard(moid: string, index: number): Promise<void> {
    const name = portName(moid, index);
    this.ports.set(
      moid,
      (this.ports.get(moid) ?? []).filter((one) => one !== name),
    );
    this.wiring.removePort(moid, name);
    await removeLinks(this.namespace, [name]);
  }

  /** Sets the addresses that the cards of a VM that is on may send from. @throws internal */
  allow(moid: string, nics: RuntimeNic[]): Promise<void> {
    return this.wiring.change(moid, nics);
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
    this.wiring.remove(moid, names);
    await removeLinks(this.namespace, names);
  }

  /** Removes the interfaces of a VM's cards, also those that an earlier hostd made. */
  async unplugStale(moid: string): Promise<void> {
    await this.adopt(moid);
    await this.unplug(moid);
  }

  /**
   * Finds the interfaces of a VM that runs since before this hostd, and gives its cards what belongs to them.
   * @param nics its cards; none: it is about to be unplugged
   */
  async adopt(moid: string, nics: RuntimeNic[] = []): Promise<void> {
    await this.open();
    const prefix = portName(moid, '');
    const names = (await interfaces(this.namespace)).filter(
      (name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)),
    );
    this.ports.set(moid, names);
    const ports = portsOf(moid, nics).filter(({ name }) => names.includes(name));
    if (ports.length === 0) return;
    // A running VM is not ended for this: at worst it is cut off.
    await this.wiring
      .add(moid, ports)
      .catch((error: unknown) =>
        log.warn({ moid, err: messageOf(error) }, 'the network of a running VM could not be restored'),
      );
  }

  /**
   * Makes the namespace of an endpoint VM, with its cards as eth0, eth1, …; one that is there already is replaced.
   * @returns its path
   * @throws notFound for an unknown port group, internal
   */
  async connectEndpoint(moid: string, nics: RuntimeNic[]): Promise<string> {
    await this.disconnectEndpoint(moid);
    const namespace = this.endpointNamespace(moid);
    const ports = portsOf(moid, nics);
    const outer = ports.flatMap((port) => [
      `link add ${port.name} type veth peer name eth${port.nic.index} netns ${namespace}`,
      ...noAddress(port.name),
    ]);
    const plugging = this.plugging(ports);
    const inner = ports.map(({ nic }) => `link set eth${nic.index} address ${nic.mac} up`);
    try {
      await ensureNamespace(namespace);
      await this.wiring.deafen(namespace);
      await ipBatch(this.namespace, outer);
      await ipBatch(namespace, inner);
      await this.adopt(moid);
      await this.wiring.addEndpoint(moid, namespace, ports, plugging);
    } catch (error) {
      await this.disconnectEndpoint(moid);
      throw error;
    }
    return `${NAMESPACES}/${namespace}`;
  }

  /** The namespace of an endpoint VM that runs since before this hostd, or null when it is not there with all its cards. */
  async adoptEndpoint(moid: string, nics: RuntimeNic[]): Promise<string | null> {
    await this.adopt(moid);
    const namespace = this.endpointNamespace(moid);
    if (!existsSync(`${NAMESPACES}/${namespace}`)) return null;
    const there = await interfaces(namespace).catch((): string[] => []);
    const ports = portsOf(moid, nics);
    if (!ports.every(({ nic }) => there.includes(`eth${nic.index}`))) return null;
    await this.wiring.deafen(namespace);
    await this.wiring.addEndpoint(moid, namespace, ports);
    return `${NAMESPACES}/${namespace}`;
  }

  /** Removes an endpoint VM's namespace and cards. */
  async disconnectEndpoint(moid: string): Promise<void> {
    this.wiring.removeEndpoint(moid);
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
    this.netlink.close();
  }

  private endpointNamespace(moid: string): string {
    return `${this.namespace}-${moid}`;
  }

  /** Taps that nobody has open, and that are down. */
  private async makeTaps(names: string[]): Promise<void> {
    for (const name of names) await this.netlink.tap(this.path, name);
    await this.netlink.carryOut(this.path, ROUTE, names.map(withoutAddress));
  }

  /** @throws notFound for an unknown port group */
  private plugging(ports: readonly Port[]): Plugging {
    const bridges = new Map(ports.map(({ nic: { portGroup } }) => [portGroup, this.bridge(portGroup)]));
    return { bridge: ({ nic: { portGroup } }) => bridges.get(portGroup)! };
  }

  private bridge(portGroup: string): string {
    const bridge = this.bridges.get(portGroup);
    if (bridge === undefined) throw notFound(`there is no port group '${portGroup}'`);
    return bridge;
  }
}

/** Interface names have at most 15 bytes. */
function bridgeName(portGroup: string): string {
  return `br${createHash('sha256').update(portGroup).digest('hex').slice(0, 10)}`;
}

/** The switch's interface for a VM's card: `t<number of the VM>n<card>`. */
function portName(moid: string, index: number | ''): string {
  return `t${moid.replace(/^vm-/, '').slice(0, 10)}n${index}`;
}

function portsOf(moid: string, nics: readonly RuntimeNic[]): Port[] {
  return nics.filter((nic) => nic.connected).map((nic) => ({ name: portName(moid, nic.index), nic }));
}
