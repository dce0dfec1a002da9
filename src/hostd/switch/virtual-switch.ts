/**
 * The virtual switch: port groups as bridges in a network namespace of their own, a tap for each connected card of a VM, and for
 * each endpoint VM a namespace with one veth per card.
 *
 * Relies on `ip`, `bridge` (iproute2) and root. `wiring.ts` keeps the VMs of a network from harming each other. Never: touches the
 * machine's own interfaces, routes or firewall, or gives a bridge an address (so no VM reaches this machine through it). What an earlier
 * hostd made is found by its names and used again or replaced, even if that hostd was killed half way.
 */
import { existsSync, readdirSync } from 'node:fs';
import { messageOf, notFound } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { RuntimeNic } from '../runtime.js';
import type { Uplink } from '../uplinks.js';
import { EndpointCards } from './endpoint-cards.js';
import { interfaces, ipBatch, ipTry } from './ip.js';
import { LeavingLinks } from './leaving-links.js';
import { bringUp, withoutAddress } from './link-messages.js';
import { deleteNamespace, ensureNamespace, NAMESPACES, removeLinks } from './namespaces.js';
import { Netlink, ROUTE } from './netlink.js';
import { bridgeLink } from './new-links.js';
import type { PolicyTables } from './policy-tables.js';
import type { PortGroupSettings } from './port-group-settings.js';
import { bridgeName, portName, portsOf, retried } from './port-names.js';
import { REJECT_ALL, type SecurityPolicy } from './security-policy.js';
import { removedUplink, Uplinks } from './uplinks.js';
import { type Plugging, type Port, Wiring } from './wiring.js';

const log = logger('switch');

/** A bridge's name, as {@link bridgeName} makes it. */
const BRIDGE = /^br[0-9a-f]{10}$/;

/** The switch of one instance. All calls may be repeated: what exists already stays. */
export class VirtualSwitch {
  readonly namespace: string;
  private readonly bridges = new Map<string, string>();
  /** The interfaces of VMs' cards that are known to exist, by VM. */
  private readonly ports = new Map<string, string[]>();
  private readonly netlink = new Netlink();
  private readonly wiring: Wiring;
  private opened: Promise<void> | null = null;
  private listing: Promise<string[]> | null = null;

  private readonly uplinks: Uplinks;
  private readonly leaving: LeavingLinks;
  private readonly endpoints: EndpointCards;

  /**
   * @param instance short name (`InstancePaths.instance`)
   * @param uplinks port groups that are joined with interfaces of the machine
   * @param machine name of the namespace with the machine's interfaces; undefined: this process's own
   * @param featuresFile keeps what bridges can do on this machine
   */
  constructor(instance: string, uplinks: readonly Uplink[] = [], machine?: string, featuresFile: string | null = null) {
    this.namespace = `csn-${instance}`;
    this.wiring = new Wiring(this.namespace, this.netlink, featuresFile);
    this.uplinks = new Uplinks(this.namespace, uplinks, machine);
    this.leaving = new LeavingLinks(this.namespace);
    const { namespace, path, ports, wiring, netlink, leaving } = this;
    this.endpoints = new EndpointCards({
      ...{ namespace, path, ports, wiring, netlink, leaving },
      plugging: (cards) => this.plugging(cards),
      adopt: (moid) => this.adopt(moid),
      unplugStale: (moid) => this.unplugStale(moid),
    });
  }

  /** Path for `nsenter --net=`. */
  get path(): string {
    return `${NAMESPACES}/${this.namespace}`;
  }

  /** Which protections of VMs from each other this machine lacks, as text for a user. */
  get lacks(): readonly string[] {
    return [...this.wiring.lacks, ...this.uplinks.problems];
  }

  /** What the containers of each virtual container host may send to each other. */
  get flows(): PolicyTables {
    return this.wiring.flows;
  }

  /** Makes the namespace. @throws internal */
  open(): Promise<void> {
    this.opened ??= ensureNamespace(this.namespace)
      .then(() => this.wiring.open())
      .then(() => this.uplinks.open())
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
  addPortGroup(name: string, policy: SecurityPolicy = REJECT_ALL): Promise<void> {
    return this.addPortGroups(new Map([[name, policy]]));
  }

  /** Makes bridges of several port groups. @throws internal */
  async addPortGroups(groups: ReadonlyMap<string, SecurityPolicy>): Promise<void> {
    const fresh = [...groups].filter(([name]) => !this.bridges.has(name));
    if (fresh.length === 0) return;
    await this.open();
    const bridges = fresh.map(([name]) => bridgeName(name));
    await this.leaving.gone((name) => bridges.includes(name));
    const messages = bridges.flatMap((bridge) => [
      bridgeLink(bridge, this.wiring.bridgeSettings),
      withoutAddress(bridge),
      bringUp(bridge),
    ]);
    await this.netlink.carryOut(this.path, ROUTE, messages);
    for (const [name, policy] of fresh) {
      await this.wiring.setPolicy(name, policy);
      await this.uplinks.provide(name, (uplink) => this.wiring.addUplink(uplink, bridgeName(name)));
      this.bridges.set(name, bridgeName(name));
    }
  }

  /** Sets what the cards of a port group may do, plugged-in ones included. @throws internal */
  setPolicy(name: string, policy: SecurityPolicy): Promise<void> {
    return this.wiring.setPolicy(name, policy);
  }

  /** Sets how a port group's cards are treated, plugged-in ones included. @throws notFound, internal */
  async configurePortGroup(name: string, settings: PortGroupSettings): Promise<void> {
    await ipBatch(this.namespace, [`link set ${this.bridge(name)} mtu ${settings.mtu}`]);
    await this.wiring.configure(name, settings);
  }

  async removePortGroup(name: string): Promise<void> {
    const bridge = this.bridges.get(name);
    if (bridge === undefined) return;
    this.bridges.delete(name);
    this.wiring.forgetPortGroup(name);
    // The interface of the machine is free again when this resolves.
    const uplink = this.uplinks.forget(name);
    await ipTry(
      this.namespace,
      uplink.flatMap((one) => removedUplink(one)),
    );
    this.wiring.removeUplink(uplink);
    this.leaving.begin(bridge);
  }

  /** Removes bridges that no port group has: an earlier hostd was killed while it removed them. */
  async removeSpareBridges(): Promise<void> {
    await this.open();
    const wanted = new Set(this.bridges.values());
    for (const name of await interfaces(this.namespace))
      if (BRIDGE.test(name) && !wanted.has(name)) this.leaving.begin(name);
  }

  /**
   * Makes the taps of a VM's connected cards, which only root may open.
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
    await retried(add, () => this.unplugStale(moid));
    const taps = new Map(ports.map(({ name, nic }) => [nic.index, name]));
    this.ports.set(moid, [...taps.values()]);
    return taps;
  }

  /**
   * Makes taps that are not plugged in and stay down, for a spare VM.
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
   * Turns the taps of `spare` ({@link plugSpare}) into those of the VM `moid`, and plugs them in. Whoever has them open keeps them.
   * @throws notFound for an unknown port group, internal
   */
  async handOver(spare: string, moid: string, nics: RuntimeNic[]): Promise<void> {
    const ports = portsOf(moid, nics);
    const plugging = { ...this.plugging(ports), before: ({ nic }: Port) => portName(spare, nic.index) };
    try {
      await this.wiring.add(moid, ports, plugging);
    } catch (error) {
      // It may be half done, so the caller unplugs both names.
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
   * @throws notFound for an unknown port group, internal; nothing is left of it then
   */
  async plugCard(moid: string, nic: RuntimeNic): Promise<string | null> {
    const [port] = portsOf(moid, [nic]);
    if (port === undefined) return null;
    const plugging = this.plugging([port]);
    const add = async (): Promise<void> => {
      await this.makeTaps([port.name]);
      await this.wiring.addPort(moid, port, plugging);
    };
    await retried(add, () => this.unplugCard(moid, nic.index));
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

  /** Sets the addresses that the cards of a powered-on VM may send from. @throws internal */
  allow(moid: string, nics: RuntimeNic[]): Promise<void> {
    return this.wiring.change(moid, nics);
  }

  /** Removes the interfaces of an earlier hostd's spare VMs. @param isSpare matches the names of their interfaces */
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

  /** Removes the interfaces of a VM's cards, including those that an earlier hostd made. */
  async unplugStale(moid: string): Promise<void> {
    await this.adopt(moid);
    await this.unplug(moid);
  }

  /**
   * Finds the interfaces of a VM that was started before this hostd, and restores the rules and neighbour entries of its cards.
   * @param nics its cards; none if it is about to be unplugged
   */
  async adopt(moid: string, nics: RuntimeNic[] = []): Promise<void> {
    await this.open();
    const prefix = portName(moid, '');
    // A running VM's are not new. Otherwise one that was made just now counts.
    const all = await (nics.length > 0 ? this.listed() : interfaces(this.namespace));
    const names = all.filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)));
    this.ports.set(moid, names);
    const ports = portsOf(moid, nics).filter(({ name }) => names.includes(name));
    if (ports.length === 0) return;
    // A failure must not end a running VM: at worst it is cut off.
    await this.wiring
      .add(moid, ports)
      .catch((error: unknown) =>
        log.warn({ moid, err: messageOf(error) }, 'the network of a running VM could not be restored'),
      );
  }

  /** Its interfaces. Whoever asks while they are being listed gets that list: all VMs are adopted at once. */
  private listed(): Promise<string[]> {
    this.listing ??= interfaces(this.namespace).finally(() => {
      this.listing = null;
    });
    return this.listing;
  }

  /** The endpoint VMs' namespaces: see {@link EndpointCards}. */
  connectEndpoint(moid: string, nics: RuntimeNic[]): Promise<string> {
    return this.endpoints.connect(moid, nics);
  }

  adoptEndpoint(moid: string, nics: RuntimeNic[]): Promise<string | null> {
    return this.endpoints.adopt(moid, nics);
  }

  plugEndpointCard(moid: string, nic: RuntimeNic): Promise<void> {
    return this.endpoints.plug(moid, nic);
  }

  unplugEndpointCard(moid: string, nic: RuntimeNic): void {
    this.endpoints.unplug(moid, nic);
  }

  disconnectEndpoint(moid: string): Promise<void> {
    return this.endpoints.disconnect(moid);
  }

  /** Removes everything of this instance. */
  async remove(): Promise<void> {
    if (!existsSync(NAMESPACES)) return;
    await this.leaving.gone();
    if (existsSync(this.path)) await this.uplinks.close();
    for (const name of readdirSync(NAMESPACES)) {
      if (name === this.namespace || name.startsWith(`${this.namespace}-`)) await deleteNamespace(name);
    }
    this.bridges.clear();
    this.ports.clear();
    this.opened = null;
    this.flows.close();
    this.netlink.close();
  }

  /** Makes taps that nobody has open and that are down. */
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
