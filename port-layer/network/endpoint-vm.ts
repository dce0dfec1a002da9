/**
 * The endpoint VM's side of user-made networks: a port group and a card for each, and the list of networks in its extraConfig, which is
 * changed by the same task as the cards. Port groups are named after the virtual container host and the network, and end with the
 * network's short id; those of ours that no network has are removed when the endpoint starts.
 */
import { isEmbedded } from '../../src/common/embedded-host.js';
import { isKind, messageOf } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import {
  type Attachment,
  backingOf,
  type ManagedObjectReference,
  type PortGroups,
  portGroupsLike,
  segmentOf,
  type VimClient,
  type VirtualMachineConfigSpec,
} from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import { type Card, cardsOf, isThere } from './endpoints.js';
import { LOOSE_KEY, looseNames, NETWORKS_KEY } from './made-port-groups.js';
import type { NetworkSpec } from './network-spec.js';
import { type KeptNetworks, type NetworkStore, readNetworks } from './network-store.js';

const log = logger('networks');
const OWNER_KEY = 'caisson.vch';
const APPLIANCE_KEY = 'caisson.appliance';
/** vSphere's limit for names of port groups. */
const MAX_NAME = 80;
/** The key of a VM's first card; that of interface `eth0`. */
const FIRST_CARD = 4000;

type Change = Pick<VirtualMachineConfigSpec, 'deviceChange' | 'extraConfig'>;
type Config = Pick<
  VchConfig,
  'id' | 'name' | 'resourcePool' | 'networks' | 'containerNetworks' | 'allowNetworkCreate' | 'networkVlans'
>;

/** What the VM has of networks. */
interface State {
  networks: NetworkSpec[];
  /** See {@link LOOSE_KEY}. */
  loose: string[];
  cards: Card[];
}

export class EndpointVm implements NetworkStore {
  private vm: ManagedObjectReference | null = null;
  private places: PortGroups | null = null;
  /** Names of port groups that may be there though no network has them. */
  private readonly loose = new Set<string>();
  /** It tells us only of port groups that are ours, so nothing has to be written down before one is made. */
  private readonly embedded: boolean;

  constructor(
    private readonly client: VimClient,
    private readonly config: Config,
  ) {
    this.embedded = isEmbedded(client.serviceContent.about);
  }

  /** Whether each network gets a port group of its own; otherwise all share the default network's. */
  get makesPortGroups(): boolean {
    return this.embedded || this.config.allowNetworkCreate === true;
  }

  portGroupOf({ id, name }: { id: string; name: string }): string {
    if (!this.makesPortGroups) return this.config.networks[0].portGroup;
    const ending = `-${shortId(id)}`;
    return `${this.config.name}-${name}`.slice(0, MAX_NAME - ending.length) + ending;
  }

  async load(): Promise<KeptNetworks> {
    this.vm = await this.find();
    if (this.vm === null) return { networks: [], interfaces: new Map() };
    const state = await this.read(this.vm);
    for (const name of state.loose) this.loose.add(name);
    const { networks, cards } = state;
    if (!this.makesPortGroups) return { networks, interfaces: interfacesOf(cards) };
    try {
      return await this.reconcile(this.vm, state);
    } catch (error) {
      log.error({ err: messageOf(error) }, 'the networks were not compared with what is on the host');
      return { networks, interfaces: interfacesOf(cards) };
    }
  }

  async add(
    network: NetworkSpec,
    others: readonly NetworkSpec[],
  ): Promise<{ network: NetworkSpec; interface: string }> {
    const { name } = network;
    try {
      const vm = this.mustHave();
      const own = this.makesPortGroups && network.kind !== 'config';
      const made = own ? await this.addOwn(vm, network, others) : this.shared(network);
      if (!own) await this.reconfigure(vm, { extraConfig: [kept([...others, made])] });
      return { network: made, interface: interfacesOf(await this.cards(vm)).get(segmentOf(made)) ?? '' };
    } catch (error) {
      throw new PortLayerError('network.notMade', { network: name, reason: messageOf(error) }, error);
    }
  }

  async remove(network: NetworkSpec, others: readonly NetworkSpec[]): Promise<void> {
    const vm = this.mustHave();
    const { portGroup, distributed } = network;
    if (isThere(network, this.config.networks[0])) {
      await this.reconfigure(vm, { extraConfig: [kept(others)] });
      return;
    }
    const own = (await this.cards(vm)).filter((card) => isThere(card, network));
    this.loose.add(portGroup);
    await this.reconfigure(vm, { deviceChange: own.map(removed), extraConfig: [kept(others), ...this.looseKey()] });
    // From here on the network is gone. What stays of it is removed at the next start.
    await this.removePortGroup({ portGroup, distributed }).catch((error: unknown) =>
      log.error({ portGroup, err: messageOf(error) }, 'the port group of a removed network stays'),
    );
  }

  // --- a network with a port group of its own ------------------------------------------------------------------------

  private async addOwn(
    vm: ManagedObjectReference,
    network: NetworkSpec,
    others: readonly NetworkSpec[],
  ): Promise<NetworkSpec> {
    const { portGroup } = network;
    let vlan: number | undefined;
    if (!this.embedded) {
      // Written down first: nothing else will tell it from one that was there before.
      const there = await (await this.portGroups()).list();
      if (there.some((one) => one.portGroup === portGroup))
        throw new Error(`there is a port group ${portGroup} already`);
      vlan = this.freeVlan([...there, ...others]);
      this.loose.add(portGroup);
      await this.reconfigure(vm, { extraConfig: this.looseKey() });
    }
    const attachment = await this.addPortGroup(portGroup, vlan).catch(async (error: unknown) => {
      // Somebody else's, which must never be taken for ours.
      if (isKind(error, 'conflict') && this.loose.delete(portGroup))
        await this.reconfigure(vm, { extraConfig: this.looseKey() });
      throw error;
    });
    const made = { ...network, ...attachment, ...(vlan === undefined ? {} : { vlan }) };
    this.loose.delete(portGroup);
    try {
      await this.reconfigure(vm, {
        deviceChange: [added(made)],
        extraConfig: [kept([...others, made]), ...this.looseKey()],
      });
    } catch (error) {
      this.loose.add(portGroup);
      await this.removePortGroup(attachment).catch((failure: unknown) =>
        log.error({ portGroup, err: messageOf(failure) }, 'the port group of a network that was not made stays'),
      );
      throw error;
    }
    return made;
  }

  /** One that an administrator gave and no port group on the switch has; undefined if none were given. @throws Error when all are taken */
  private freeVlan(others: readonly { vlan?: number | null }[]): number | undefined {
    const { networkVlans } = this.config;
    if (networkVlans === undefined) return undefined;
    const { first, last } = networkVlans;
    const taken = new Set(others.map(({ vlan }) => vlan));
    for (let vlan = first; vlan <= last; vlan++) if (!taken.has(vlan)) return vlan;
    throw new Error(`none of the VLANs ${first} to ${last}, which networks may have, is free`);
  }

  private shared(network: NetworkSpec): NetworkSpec {
    const { portGroup, distributed } = this.config.networks[0];
    return { ...network, portGroup, distributed };
  }

  /** Makes what is missing of the networks, and removes what belongs to none. */
  private async reconcile(vm: ManagedObjectReference, { networks: before, cards }: State): Promise<KeptNetworks> {
    const places = await this.portGroups();
    const there = await places.list();
    const segments = new Set(there.map(segmentOf));
    const networks: NetworkSpec[] = [];
    for (const network of before) {
      const lost = !segments.has(segmentOf(network)) && !isThere(network, this.config.networks[0]);
      networks.push(lost ? { ...network, ...(await this.addPortGroup(network.portGroup, network.vlan)) } : network);
    }
    const own = networks.filter((network) => !isThere(network, this.config.networks[0]));
    const wanted = new Set(own.map(segmentOf));
    const spare = there.filter((one) => this.isOurs(one) && !wanted.has(segmentOf(one)));
    const spareSegments = new Set(spare.map(segmentOf));
    const missing = own.filter((network) => !cards.some((card) => isThere(card, network)));
    const unused = cards.filter((card) => spareSegments.has(segmentOf(card)));
    const changed = missing.length + unused.length > 0 || networks.some((network, at) => network !== before[at]);
    if (changed)
      await this.reconfigure(vm, {
        deviceChange: [...unused.map(removed), ...missing.map(added)],
        extraConfig: [kept(networks)],
      });
    for (const one of spare)
      await this.removePortGroup(one).catch((error: unknown) =>
        log.warn({ portGroup: one.portGroup, err: messageOf(error) }, 'a port group that belongs to no network stays'),
      );
    // What is not there need not be remembered; the key follows with the next change.
    for (const name of this.loose) if (!there.some(({ portGroup }) => portGroup === name)) this.loose.delete(name);
    return { networks, interfaces: interfacesOf(changed ? await this.cards(vm) : cards) };
  }

  /** Made by this endpoint or one before it, and not in the configuration. */
  private isOurs(one: Attachment): boolean {
    const configured = [...this.config.networks, ...(this.config.containerNetworks ?? [])];
    if (configured.some((other) => isThere(one, other))) return false;
    if (!this.embedded) return this.loose.has(one.portGroup);
    return one.portGroup.startsWith(`${this.config.name}-`) && /-[0-9a-f]{12}$/.test(one.portGroup);
  }

  // --- the VM --------------------------------------------------------------------------------------------------------

  private mustHave(): ManagedObjectReference {
    if (this.vm === null) throw new Error('the endpoint VM was not found');
    return this.vm;
  }

  /** The endpoint VM. Its name narrows the search, unless an administrator has renamed it. */
  private async find(): Promise<ManagedObjectReference | null> {
    const [pool] = await this.client.retrieve([this.config.resourcePool], 'ResourcePool', ['vm']);
    const vms = pool?.props.vm ?? [];
    if (vms.length === 0) return null;
    const named = await this.client.retrieve(vms, 'VirtualMachine', ['name']);
    const likely = named.filter(({ props }) => props.name === this.config.name).map(({ ref }) => ref);
    return (await this.ownOf(likely)) ?? (await this.ownOf(vms));
  }

  private async ownOf(vms: ManagedObjectReference[]): Promise<ManagedObjectReference | null> {
    if (vms.length === 0) return null;
    const found = await this.client.retrieve(vms, 'VirtualMachine', ['config.extraConfig']);
    const isOwn = (keys: ReadonlyMap<string, string>): boolean =>
      keys.get(APPLIANCE_KEY) === 'endpoint' && keys.get(OWNER_KEY) === this.config.id;
    return found.find(({ props }) => isOwn(keysOf(props['config.extraConfig'])))?.ref ?? null;
  }

  private async read(vm: ManagedObjectReference): Promise<State> {
    const [object] = await this.client.retrieve([vm], 'VirtualMachine', ['config.extraConfig', 'config.hardware']);
    const keys = keysOf(object?.props['config.extraConfig']);
    return {
      networks: readNetworks(keys.get(NETWORKS_KEY)),
      loose: looseNames(keys.get(LOOSE_KEY)),
      cards: cardsOf(object?.props['config.hardware']?.device ?? []),
    };
  }

  private async cards(vm: ManagedObjectReference): Promise<Card[]> {
    const [object] = await this.client.retrieve([vm], 'VirtualMachine', ['config.hardware']);
    return cardsOf(object?.props['config.hardware']?.device ?? []);
  }

  private async reconfigure(vm: ManagedObjectReference, spec: Change): Promise<void> {
    await this.client.runTask('ReconfigVM_Task', vm, { spec });
  }

  private looseKey(): { key: string; value: string }[] {
    if (this.embedded) return [];
    return [{ key: LOOSE_KEY, value: this.loose.size === 0 ? '' : JSON.stringify([...this.loose]) }];
  }

  // --- port groups ---------------------------------------------------------------------------------------------------

  /** Where new ones are made: on the switch of the default network's, for the hosts that containers run on. */
  private async portGroups(): Promise<PortGroups> {
    if (this.places !== null) return this.places;
    const [pool] = await this.client.retrieve([this.config.resourcePool], 'ResourcePool', ['owner']);
    const owner = pool?.props.owner;
    if (owner === undefined) throw new Error('the resource pool has no owner');
    this.places = portGroupsLike(this.client, this.config.networks[0], owner, this.embedded);
    return this.places;
  }

  private async addPortGroup(name: string, vlan: number | undefined): Promise<Attachment> {
    const description = `Network of the virtual container host ${this.config.name} (${this.config.id})`;
    return (await this.portGroups()).add({ name, vlan, description });
  }

  private async removePortGroup(one: Attachment): Promise<void> {
    await (await this.portGroups()).remove(one);
    this.loose.delete(one.portGroup);
  }
}

const keysOf = (options: readonly { key: string; value?: unknown }[] = []): Map<string, string> =>
  new Map(options.map(({ key, value }) => [key, String(value ?? '')]));

const kept = (networks: readonly NetworkSpec[]): { key: string; value: string } => ({
  key: NETWORKS_KEY,
  value: networks.length === 0 ? '' : JSON.stringify(networks),
});

const interfacesOf = (cards: readonly Card[]): Map<string, string> =>
  new Map(cards.map((card) => [segmentOf(card), `eth${card.key - FIRST_CARD}`]));

type DeviceChange = NonNullable<VirtualMachineConfigSpec['deviceChange']>[number];

const added = (attachment: Attachment, at = 0): DeviceChange => ({
  operation: 'add',
  device: {
    $type: 'VirtualVmxnet3',
    key: -1 - at,
    backing: backingOf(attachment),
    connectable: { startConnected: true, allowGuestControl: true, connected: true },
    addressType: 'generated',
  },
});

const removed = ({ key }: Card): DeviceChange => ({ operation: 'remove', device: { $type: 'VirtualVmxnet3', key } });
