/** The endpoint VMs' namespaces, in which each of their cards is the gateway of a network. */
import { existsSync } from 'node:fs';
import type { RuntimeNic } from '../runtime.js';
import { interfaces } from './ip.js';
import type { LeavingLinks } from './leaving-links.js';
import { bringUp, withoutAddress } from './link-messages.js';
import { deleteNamespace, ensureNamespace, NAMESPACES, removeLinks } from './namespaces.js';
import { type Netlink, ROUTE } from './netlink.js';
import { pairLink } from './new-links.js';
import { portName, portsOf, retried } from './port-names.js';
import type { Plugging, Port, Wiring } from './wiring.js';

/** What they share with the cards of all other VMs. */
export interface SwitchParts {
  /** The switch's. */
  namespace: string;
  path: string;
  /** The interfaces of VMs' cards that are known to exist, by VM. */
  ports: Map<string, string[]>;
  wiring: Wiring;
  netlink: Netlink;
  leaving: LeavingLinks;
  /** @throws notFound for an unknown port group */
  plugging(ports: readonly Port[]): Plugging;
  adopt(moid: string): Promise<void>;
  unplugStale(moid: string): Promise<void>;
}

export class EndpointCards {
  constructor(private readonly parts: SwitchParts) {}

  /**
   * Makes the namespace of an endpoint VM, with its cards as `ethN`; an existing one is replaced.
   * @returns its path
   * @throws notFound for an unknown port group, internal
   */
  async connect(moid: string, nics: RuntimeNic[]): Promise<string> {
    await this.disconnect(moid);
    const namespace = this.namespaceOf(moid);
    const ports = portsOf(moid, nics);
    const plugging = this.parts.plugging(ports);
    try {
      await ensureNamespace(namespace);
      // Before there are cards: they inherit it.
      await this.parts.wiring.deafen(namespace);
      await this.parts.wiring.guard(namespace);
      await this.makeCards(namespace, ports);
      await this.parts.adopt(moid);
      await this.parts.wiring.addEndpoint(moid, namespace, ports, plugging);
    } catch (error) {
      await this.disconnect(moid);
      throw error;
    }
    return `${NAMESPACES}/${namespace}`;
  }

  /**
   * The namespace of an endpoint VM that was started before this hostd; null if it does not exist. Its cards become those of the
   * configuration: a hostd that was killed may have made one more or one less.
   */
  async adopt(moid: string, nics: RuntimeNic[]): Promise<string | null> {
    await this.parts.adopt(moid);
    const namespace = this.namespaceOf(moid);
    if (!existsSync(`${NAMESPACES}/${namespace}`)) return null;
    const inside = await interfaces(namespace).catch(() => null);
    if (inside === null) return null;
    const ports = portsOf(moid, nics);
    const outside = this.parts.ports.get(moid) ?? [];
    const whole = ports.filter(({ name, nic }) => outside.includes(name) && inside.includes(`eth${nic.index}`));
    const kept = new Set(whole.map(({ name }) => name));
    // Removing one end of a pair removes the other.
    await removeLinks(
      this.parts.namespace,
      outside.filter((name) => !kept.has(name)),
    );
    this.parts.ports.set(moid, [...kept]);
    await this.parts.wiring.deafen(namespace);
    await this.parts.wiring.guard(namespace);
    await this.parts.wiring.addEndpoint(moid, namespace, whole);
    for (const { name, nic } of ports) if (!kept.has(name)) await this.plug(moid, nic);
    return `${NAMESPACES}/${namespace}`;
  }

  /**
   * Gives a running endpoint VM a card: `ethN` in its namespace, where N is the card's number.
   * @throws notFound for an unknown port group, internal; nothing is left of it then
   */
  async plug(moid: string, nic: RuntimeNic): Promise<void> {
    const [port] = portsOf(moid, [nic]);
    if (port === undefined) return;
    const plugging = this.parts.plugging([port]);
    const namespace = this.namespaceOf(moid);
    // Its number, or an address that it is about to get, may be that of a card that is leaving.
    await this.cardsGone(moid);
    await retried(
      async () => {
        this.parts.ports.set(moid, [...new Set([...(this.parts.ports.get(moid) ?? []), port.name])]);
        await this.makeCards(namespace, [port]);
        await this.parts.wiring.addEndpointCard(moid, namespace, port, plugging);
      },
      async () => {
        this.unplug(moid, nic);
        await this.cardsGone(moid);
      },
    );
  }

  /** Takes a card from a running endpoint VM; nobody waits for the kernel. It is no error if the VM has lost it already. */
  unplug(moid: string, nic: RuntimeNic): void {
    const name = portName(moid, nic.index);
    this.parts.wiring.removeEndpointCard(moid, nic, name);
    this.parts.leaving.begin(name);
    this.parts.ports.set(
      moid,
      (this.parts.ports.get(moid) ?? []).filter((one) => one !== name),
    );
  }

  private cardsGone(moid: string): Promise<void> {
    const prefix = portName(moid, '');
    return this.parts.leaving.gone((name) => name.startsWith(prefix));
  }

  /** Removes an endpoint VM's namespace and cards. */
  async disconnect(moid: string): Promise<void> {
    this.parts.wiring.removeEndpoint(moid);
    // The cards go first: a process that is still in the namespace would keep both alive.
    await this.parts.unplugStale(moid);
    await deleteNamespace(this.namespaceOf(moid));
  }

  private namespaceOf(moid: string): string {
    return `${this.parts.namespace}-${moid}`;
  }

  /** Makes pairs of interfaces: one end is the card in the endpoint's namespace, the other is the switch's port, not yet plugged in. */
  private async makeCards(namespace: string, ports: readonly Port[]): Promise<void> {
    const messages = ports.flatMap(({ name, nic: { index, mac } }) => [
      pairLink(name, { name: `eth${index}`, mac }),
      withoutAddress(name),
    ]);
    const other = `${NAMESPACES}/${namespace}`;
    await this.parts.netlink.carryOut(this.parts.path, ROUTE, messages, { other });
    const inner = ports.map(({ nic: { index } }) => bringUp(`eth${index}`));
    await this.parts.netlink.carryOut(other, ROUTE, inner);
  }
}
