/**
 * The endpoint VM's side of user-made networks: a port group and a card for each, and the list of networks in its extraConfig, which is
 * changed by the same task as the cards. Port groups are named after the virtual container host and the network, and end with the
 * network's short id; those of ours that no network has are removed when the endpoint starts.
 */
import { isKind, messageOf } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import {
  type ManagedObjectReference,
  type VimClient,
  VimFault,
  type VirtualMachineConfigSpec,
} from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import { type Card, cardsOf } from './endpoints.js';
import type { NetworkSpec } from './network-spec.js';
import { type KeptNetworks, type NetworkStore, readNetworks } from './network-store.js';

const log = logger('networks');
export const NETWORKS_KEY = 'caisson.networks';
const OWNER_KEY = 'caisson.vch';
const APPLIANCE_KEY = 'caisson.appliance';
/** A host that the project itself is. It lets endpoints make port groups. */
const EMBEDDED = 'Caisson';
const SWITCH = 'vSwitch0';
/** vSphere's limit for names of port groups. */
const MAX_NAME = 80;
/** The key of a VM's first card; that of interface `eth0`. */
const FIRST_CARD = 4000;

type Change = Pick<VirtualMachineConfigSpec, 'deviceChange' | 'extraConfig'>;

export class EndpointVm implements NetworkStore {
  private vm: ManagedObjectReference | null = null;
  private hosts: ManagedObjectReference[] | null = null;

  constructor(
    private readonly client: VimClient,
    private readonly config: Pick<
      VchConfig,
      'id' | 'name' | 'resourcePool' | 'networks' | 'containerNetworks' | 'allowNetworkCreate'
    >,
  ) {}

  /** Whether each network gets a port group of its own; otherwise all share the default network's. */
  get makesPortGroups(): boolean {
    return this.client.serviceContent.about.vendor === EMBEDDED || this.config.allowNetworkCreate === true;
  }

  portGroupOf({ id, name }: { id: string; name: string }): string {
    if (!this.makesPortGroups) return this.config.networks[0].portGroup;
    const ending = `-${shortId(id)}`;
    return `${this.config.name}-${name}`.slice(0, MAX_NAME - ending.length) + ending;
  }

  async load(): Promise<KeptNetworks> {
    this.vm = await this.find();
    if (this.vm === null) return { networks: [], interfaces: new Map() };
    const { networks, cards } = await this.read(this.vm);
    if (!this.makesPortGroups) return { networks, interfaces: interfacesOf(cards) };
    try {
      return { networks, interfaces: interfacesOf(await this.reconcile(this.vm, networks, cards)) };
    } catch (error) {
      log.error({ err: messageOf(error) }, 'the networks were not compared with what is on the host');
      return { networks, interfaces: interfacesOf(cards) };
    }
  }

  async add(network: NetworkSpec, all: readonly NetworkSpec[]): Promise<string> {
    const { name, portGroup } = network;
    try {
      const vm = this.mustHave();
      if (!this.makesPortGroups || portGroup === '') {
        await this.reconfigure(vm, { extraConfig: [kept(all)] });
        if (portGroup === '') return '';
        return interfacesOf((await this.read(vm)).cards).get(portGroup) ?? '';
      }
      await this.addPortGroup(portGroup);
      try {
        await this.reconfigure(vm, { deviceChange: [added(portGroup)], extraConfig: [kept(all)] });
      } catch (error) {
        await this.removePortGroup(portGroup).catch((failure: unknown) =>
          log.error({ portGroup, err: messageOf(failure) }, 'the port group of a network that was not made stays'),
        );
        throw error;
      }
      return interfacesOf((await this.read(vm)).cards).get(portGroup) ?? '';
    } catch (error) {
      throw new PortLayerError('network.notMade', { network: name, reason: messageOf(error) }, error);
    }
  }

  async remove({ portGroup }: NetworkSpec, all: readonly NetworkSpec[]): Promise<void> {
    const vm = this.mustHave();
    if (!this.makesPortGroups || portGroup === '') {
      await this.reconfigure(vm, { extraConfig: [kept(all)] });
      return;
    }
    const { cards } = await this.read(vm);
    const own = cards.filter((card) => card.portGroup === portGroup);
    await this.reconfigure(vm, { deviceChange: own.map(removed), extraConfig: [kept(all)] });
    // From here on the network is gone. What stays of it is removed at the next start.
    await this.removePortGroup(portGroup).catch((error: unknown) =>
      log.error({ portGroup, err: messageOf(error) }, 'the port group of a removed network stays'),
    );
  }

  /** Makes what is missing of the networks, and removes what belongs to none. @returns the cards then */
  private async reconcile(
    vm: ManagedObjectReference,
    networks: readonly NetworkSpec[],
    cards: readonly Card[],
  ): Promise<Card[]> {
    const wanted = new Set(networks.map(({ portGroup }) => portGroup).filter((name) => name !== ''));
    const there = await this.portGroups();
    for (const portGroup of wanted) if (!there.has(portGroup)) await this.addPortGroup(portGroup);
    const missing = [...wanted].filter((portGroup) => !cards.some((card) => card.portGroup === portGroup));
    const spare = cards.filter(({ portGroup }) => this.isOurs(portGroup) && !wanted.has(portGroup));
    if (missing.length + spare.length > 0)
      await this.reconfigure(vm, { deviceChange: [...spare.map(removed), ...missing.map(added)] });
    for (const portGroup of there)
      if (this.isOurs(portGroup) && !wanted.has(portGroup))
        await this.removePortGroup(portGroup).catch((error: unknown) =>
          log.warn({ portGroup, err: messageOf(error) }, 'a port group that belongs to no network stays'),
        );
    return missing.length + spare.length > 0 ? (await this.read(vm)).cards : [...cards];
  }

  /** Named as we name them, and not in the configuration. */
  private isOurs(portGroup: string): boolean {
    const configured = [...this.config.networks, ...(this.config.containerNetworks ?? [])];
    return (
      portGroup.startsWith(`${this.config.name}-`) &&
      /-[0-9a-f]{12}$/.test(portGroup) &&
      !configured.some((one) => one.portGroup === portGroup)
    );
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

  private async read(vm: ManagedObjectReference): Promise<{ networks: NetworkSpec[]; cards: Card[] }> {
    const [object] = await this.client.retrieve([vm], 'VirtualMachine', ['config.extraConfig', 'config.hardware']);
    return {
      networks: readNetworks(keysOf(object?.props['config.extraConfig']).get(NETWORKS_KEY)),
      cards: cardsOf(object?.props['config.hardware']?.device ?? []),
    };
  }

  private async reconfigure(vm: ManagedObjectReference, spec: Change): Promise<void> {
    await this.client.runTask('ReconfigVM_Task', vm, { spec });
  }

  // --- port groups ---------------------------------------------------------------------------------------------------

  /** The network systems of the hosts that the containers run on. */
  private async systems(): Promise<ManagedObjectReference[]> {
    if (this.hosts !== null) return this.hosts;
    const [pool] = await this.client.retrieve([this.config.resourcePool], 'ResourcePool', ['owner']);
    const owner = pool?.props.owner;
    const [compute] = owner === undefined ? [] : await this.client.retrieve([owner], 'ComputeResource', ['host']);
    const hosts = compute?.props.host ?? [];
    const found = await this.client.retrieve(hosts, 'HostSystem', ['configManager']);
    this.hosts = found.flatMap(({ props }) => props.configManager?.networkSystem ?? []);
    return this.hosts;
  }

  /** Names of the port groups that are to be seen. */
  private async portGroups(): Promise<Set<string>> {
    const systems = await this.client.retrieve(await this.systems(), 'HostNetworkSystem', ['networkInfo']);
    return new Set(systems.flatMap(({ props }) => (props.networkInfo?.portgroup ?? []).map(({ spec }) => spec.name)));
  }

  private async addPortGroup(name: string): Promise<void> {
    const done: ManagedObjectReference[] = [];
    try {
      for (const system of await this.systems()) {
        const portgrp = { name, vlanId: 0, vswitchName: SWITCH, policy: {} };
        await this.client.call('AddPortGroup', system, { portgrp }).catch((error: unknown) => {
          // Port groups of one name are one network. A simulator says so of each host after the first.
          if (done.length === 0 || !(error instanceof VimFault && error.is('DuplicateName'))) throw error;
        });
        done.push(system);
      }
    } catch (error) {
      for (const system of done)
        await this.client.call('RemovePortGroup', system, { pgName: name }).catch(() => undefined);
      throw error;
    }
  }

  private async removePortGroup(name: string): Promise<void> {
    for (const system of await this.systems())
      await this.client.call('RemovePortGroup', system, { pgName: name }).catch((error: unknown) => {
        if (!isKind(error, 'notFound')) throw error;
      });
  }
}

const keysOf = (options: readonly { key: string; value?: unknown }[] = []): Map<string, string> =>
  new Map(options.map(({ key, value }) => [key, String(value ?? '')]));

const kept = (networks: readonly NetworkSpec[]): { key: string; value: string } => ({
  key: NETWORKS_KEY,
  value: networks.length === 0 ? '' : JSON.stringify(networks),
});

const interfacesOf = (cards: readonly Card[]): Map<string, string> =>
  new Map(cards.map(({ key, portGroup }) => [portGroup, `eth${key - FIRST_CARD}`]));

type DeviceChange = NonNullable<VirtualMachineConfigSpec['deviceChange']>[number];

const added = (deviceName: string, at = 0): DeviceChange => ({
  operation: 'add',
  device: {
    $type: 'VirtualVmxnet3',
    key: -1 - at,
    backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName },
    connectable: { startConnected: true, allowGuestControl: true, connected: true },
    addressType: 'generated',
  },
});

const removed = ({ key }: Card): DeviceChange => ({ operation: 'remove', device: { $type: 'VirtualVmxnet3', key } });
