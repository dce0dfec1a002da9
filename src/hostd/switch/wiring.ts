/**
 * Keeps the cards of a switch from harming each other: sets how the bridges treat their ports, the source checks, and the endpoints'
 * neighbour entries. `virtual-switch.ts` makes and removes the ports.
 */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { RuntimeNic } from '../runtime.js';
import { type BridgeFeatures, bridgeSettings, keptBridgeFeatures, learns, treatment } from './bridge-ports.js';
import { gatewayText } from './gateway-rules.js';
import { interfaces, ipBatch, nft } from './ip.js';
import { bringUp, findLink, indexOf, joinBridge, renameLink, setMtu, staticEntry, treatPort } from './link-messages.js';
import { deafen, NAMESPACES } from './namespaces.js';
import { Neighbours } from './neighbours.js';
import { type Netlink, ROUTE } from './netlink.js';
import type { BridgeSettings } from './new-links.js';
import { PolicyTables } from './policy-tables.js';
import { ORDINARY, type PortGroupSettings } from './port-group-settings.js';
import { REJECT_ALL, type SecurityPolicy } from './security-policy.js';
import { SourceChecks } from './source-checks.js';
import { TrustChecks } from './trust-checks.js';

const log = logger('switch');
const UNTRUSTED =
  'Container networks: trust levels are enforced only in the guests, since nftables lacks something on this machine';
const UNGUARDED =
  'Container networks: what containers may say to their gateway is not filtered, since nftables lacks something on this machine';

/** A card and its interface on the switch. */
export interface Port {
  name: string;
  nic: RuntimeNic;
}

/** How to plug in ports that are not plugged in yet. */
export interface Plugging {
  /** The bridge's name. */
  bridge(port: Port): string;
  /** The port's name until then; undefined: it already has its final name. A port that is up cannot be renamed. */
  before?(port: Port): string;
}

/** The rules of one switch. */
export class Wiring {
  /** What this machine cannot do of it, as text for a user. */
  readonly lacks: string[] = [];
  private readonly policies = new Map<string, SecurityPolicy>();
  private readonly settings = new Map<string, PortGroupSettings>();
  /** Connected cards of powered-on VMs, by VM, without those of endpoints. */
  private readonly ports = new Map<string, Port[]>();
  /** Connected cards of endpoint VMs, by VM. */
  private readonly gateways = new Map<string, Port[]>();
  private readonly neighbours: Neighbours;
  private readonly checks: SourceChecks;
  /** What containers may send to each other. */
  readonly flows: PolicyTables;
  /** How far container networks are trusted. */
  private readonly trust: TrustChecks;
  private features: BridgeFeatures = { locked: false, maxLearned: false };

  /** @param namespace the switch's @param featuresFile see {@link keptBridgeFeatures} */
  constructor(
    private readonly namespace: string,
    private readonly netlink: Netlink,
    private readonly featuresFile: string | null = null,
  ) {
    this.checks = new SourceChecks(`${NAMESPACES}/${namespace}`, netlink);
    this.neighbours = new Neighbours(netlink);
    this.flows = new PolicyTables(`${NAMESPACES}/${namespace}`);
    this.trust = new TrustChecks(`${NAMESPACES}/${namespace}`, (why) => this.lack(UNTRUSTED, why));
  }

  /** Finds out what this machine can do, and makes the rules in the namespace, which exists already. */
  async open(): Promise<void> {
    this.lacks.length = 0;
    const [features] = await Promise.all([
      keptBridgeFeatures(this.featuresFile, this.namespace),
      this.checks.open(),
      deafen(this.namespace).catch((error: unknown) =>
        this.lack(
          'Container networks: settings of network namespaces cannot be written on this machine',
          messageOf(error),
        ),
      ),
    ]);
    this.features = features;
    if (this.checks.problem !== null)
      this.lack(
        'Container networks: sender addresses are not checked, since nftables does not work on this machine',
        this.checks.problem,
      );
    if (!features.locked)
      this.lack('Container networks: this machine cannot lock ports of bridges to their MAC addresses', null);
    const there = await interfaces(this.namespace);
    await this.checks.keep(there);
    await this.trust.open(there);
  }

  /** Says once what this machine cannot do. */
  private lack(what: string, why: string | null): void {
    if (this.lacks.includes(what)) return;
    this.lacks.push(what);
    log.warn({ why }, what);
  }

  /**
   * Plugs an interface of the machine into a bridge. What is beyond it is not known: everybody may be there, so the bridge learns, and frames
   * for unknown addresses go there. It learns nothing about cards of this switch.
   * @throws internal
   */
  async addUplink(name: string, bridge: string): Promise<void> {
    await ipBatch(this.namespace, [
      // Up first: see `removedUplink`.
      `link set ${name} up`,
      `link set ${name} master ${bridge}`,
      `link set ${name} type bridge_slave learning on flood on isolated off`,
    ]);
    await this.checks.allow(name, { mac: '', addresses: undefined, unchecked: true });
  }

  removeUplink(names: readonly string[]): void {
    this.checks.forget(names);
  }

  /** How the switch's bridges work. */
  get bridgeSettings(): BridgeSettings {
    return bridgeSettings(this.features);
  }

  /** Sets what the cards of a port group may do, plugged-in ones included. @throws internal */
  async setPolicy(portGroup: string, policy: SecurityPolicy): Promise<void> {
    this.policies.set(portGroup, policy);
    for (const [moid, ports] of this.ports)
      if (ports.some(({ nic }) => nic.portGroup === portGroup)) await this.add(moid, ports);
  }

  /** Sets how a port group's cards are treated, plugged-in ones included. @throws internal */
  async configure(portGroup: string, settings: PortGroupSettings): Promise<void> {
    this.settings.set(portGroup, settings);
    const all = [...this.ports.values(), ...this.gateways.values()].flat();
    await this.treat(
      all.filter(({ nic }) => nic.portGroup === portGroup),
      undefined,
      true,
    );
  }

  /** Forgets a port group that is gone. */
  forgetPortGroup(portGroup: string): void {
    this.policies.delete(portGroup);
    this.settings.delete(portGroup);
  }

  /**
   * Tells the bridges, the source checks and the endpoints of its networks about a VM's cards. An unknown card is cut off, so the order
   * does not matter.
   * @param plugging how to plug them in; none if they are plugged in already
   * @throws internal
   */
  async add(moid: string, ports: Port[], plugging?: Plugging): Promise<void> {
    this.ports.set(moid, ports);
    const nics = ports.map(({ nic }) => nic);
    await this.flows.add(ports);
    await this.trust.add(ports);
    await together([...this.rules(ports, plugging), this.neighbours.learn(nics)]);
  }

  /** Like {@link add}, for one more card of a VM. @throws internal */
  async addPort(moid: string, port: Port, plugging: Plugging): Promise<void> {
    this.ports.set(moid, [...this.portsBut(moid, port.name), port]);
    await this.flows.add([port]);
    await this.trust.add([port]);
    await together([...this.rules([port], plugging), this.neighbours.learn([port.nic])]);
  }

  /** Like {@link remove}, for one card of a VM. */
  removePort(moid: string, name: string): void {
    const port = this.ports.get(moid)?.find((one) => one.name === name);
    this.ports.set(moid, this.portsBut(moid, name));
    if (port !== undefined) this.neighbours.forget([port.nic]);
    this.checks.forget([name]);
    this.flows.remove([name]);
    this.trust.forget([name]);
  }

  private portsBut(moid: string, name: string): Port[] {
    return (this.ports.get(moid) ?? []).filter((one) => one.name !== name);
  }

  /** Sets the addresses that a powered-on VM may send from. @throws internal */
  async change(moid: string, nics: readonly RuntimeNic[]): Promise<void> {
    const before = this.ports.get(moid);
    if (before === undefined) return;
    this.neighbours.forget(before.map(({ nic }) => nic));
    await this.add(
      moid,
      before.map(({ name, nic }) => ({ name, nic: nics.find(({ index }) => index === nic.index) ?? nic })),
    );
  }

  /** Removes everything about a VM's cards, though not at once. @param names of its interfaces, which are about to be removed */
  remove(moid: string, names: readonly string[]): void {
    const ports = this.ports.get(moid) ?? [];
    this.ports.delete(moid);
    this.neighbours.forget(ports.map(({ nic }) => nic));
    this.flows.remove([...names, ...ports.map(({ name }) => name)]);
    this.trust.forget([...new Set([...names, ...ports.map(({ name }) => name)])]);
    this.checks.forget([...new Set([...names, ...ports.map(({ name }) => name)])]);
  }

  /** Wires an endpoint's cards, and gives it entries for its neighbours. @param namespace the endpoint's @throws internal */
  async addEndpoint(moid: string, namespace: string, ports: Port[], plugging?: Plugging): Promise<void> {
    this.gateways.set(moid, ports);
    const own = ports.map(({ nic }) => nic);
    await this.flows.addGateway(ports);
    await together([...this.rules(ports, plugging), this.neighbours.add(moid, namespace, own, () => this.others())]);
  }

  removeEndpoint(moid: string): void {
    this.gateways.delete(moid);
    this.neighbours.remove(moid);
  }

  /** Like {@link addEndpoint}, for one more card. @throws internal */
  async addEndpointCard(moid: string, namespace: string, port: Port, plugging: Plugging): Promise<void> {
    await this.flows.addGateway([port]);
    this.gateways.set(moid, [...this.gatewaysBut(moid, port.name), port]);
    await together([
      ...this.rules([port], plugging),
      this.neighbours.addCard(moid, namespace, port.nic, () => this.others()),
    ]);
  }

  /** Forgets one card of an endpoint. @param name of its port */
  removeEndpointCard(moid: string, nic: RuntimeNic, name: string): void {
    this.gateways.set(moid, this.gatewaysBut(moid, name));
    this.neighbours.removeCard(moid, nic);
    this.flows.remove([name]);
    this.checks.forget([name]);
  }

  private gatewaysBut(moid: string, name: string): Port[] {
    return (this.gateways.get(moid) ?? []).filter((one) => one.name !== name);
  }

  /** The cards of all powered-on VMs but endpoints. */
  private others(): RuntimeNic[] {
    return [...this.ports.values()].flat().map(({ nic }) => nic);
  }

  /** Makes an endpoint's namespace ignore what its neighbours say. If that is impossible, {@link open} has reported it. */
  async deafen(namespace: string): Promise<void> {
    await deafen(namespace).catch((error: unknown) =>
      log.debug({ namespace, err: messageOf(error) }, 'the network settings of an endpoint could not be changed'),
    );
  }

  /** Lets an endpoint's namespace answer only what the gateway serves. If that is impossible, it is reported, once. */
  async guard(namespace: string): Promise<void> {
    await nft(`${NAMESPACES}/${namespace}`, gatewayText()).catch((error: unknown) =>
      this.lack(UNGUARDED, messageOf(error)),
    );
  }

  private rules(ports: Port[], plugging: Plugging | undefined): Promise<void>[] {
    return [
      this.treat(ports, plugging),
      ...ports.map(({ name, nic: { mac, addresses, trust }, nic }) =>
        this.checks.allow(name, {
          mac,
          addresses,
          unchecked: this.policy(nic).forgedTransmits,
          leased: trust?.dynamic === true,
        }),
      ),
    ];
  }

  /** Sets how the bridges treat the ports, and plugs them in first if need be. They come up last, when everything is set. */
  private async treat(ports: Port[], plugging: Plugging | undefined, resize = false): Promise<void> {
    const path = `${NAMESPACES}/${this.namespace}`;
    const bridges = plugging === undefined ? [] : [...new Set(ports.map((port) => plugging.bridge(port)))];
    const names = [...ports.map((port) => plugging?.before?.(port) ?? port.name), ...bridges];
    const found = await this.netlink.carryOut(path, ROUTE, names.map(findLink));
    const gateways = new Set([...this.gateways.values()].flat());
    const indexes = new Map(names.map((name, at) => [name, indexOf(found[at]!)]));
    const messages = ports.flatMap((port, at) => {
      const index = indexes.get(names[at]!)!;
      const policy = this.policy(port.nic);
      const { isolated, mtu } = this.settings.get(port.nic.portGroup) ?? ORDINARY;
      return [
        ...(resize || mtu !== ORDINARY.mtu ? [setMtu(index, mtu)] : []),
        ...(plugging === undefined
          ? []
          : [
              ...(names[at] === port.name ? [] : [renameLink(index, port.name)]),
              joinBridge(index, indexes.get(plugging.bridge(port))!),
            ]),
        treatPort(index, treatment(policy, this.features, isolated && !gateways.has(port))),
        ...(learns(policy) ? [] : [staticEntry(index, port.nic.mac)]),
        ...(plugging === undefined ? [] : [bringUp(index)]),
      ];
    });
    await this.netlink.carryOut(path, ROUTE, messages);
  }

  private policy({ portGroup }: RuntimeNic): SecurityPolicy {
    return this.policies.get(portGroup) ?? REJECT_ALL;
  }
}

/**
 * Waits for all of them: if one fails while another is still going, cleaning up would come too early. @throws the first error
 */
async function together(all: Promise<void>[]): Promise<void> {
  for (const one of await Promise.allSettled(all)) if (one.status === 'rejected') throw one.reason;
}
