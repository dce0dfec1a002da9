/** Making, listing and removing port groups: on the switches of hosts, or on a distributed switch of a vCenter. */
import { isKind } from '../common/errors.js';
import { type Attachment, type DistributedPort, segmentOf } from './attachment.js';
import type { VimClient } from './client.js';
import { VimFault } from './faults.js';
import type { DVPortgroupConfigInfo, ManagedObjectReference, VMwareDVSPortSetting } from './types.generated.js';

const FIRST_SWITCH = 'vSwitch0';
/** It grows by itself. */
const PORTS = 8;

/** A port group that is there. */
export interface FoundPortGroup extends Attachment {
  /** 0: none; null: several, or something else than a VLAN. */
  vlan: number | null;
}

/** What a port group is made with. */
export interface NewPortGroup {
  name: string;
  /** Undefined: that of the port group which the others are to be like. */
  vlan?: number | undefined;
  /** Shown in vSphere clients, where the kind of port group has such a text. */
  description: string;
}

/** Port groups in one place. */
export interface PortGroups {
  list(): Promise<FoundPortGroup[]>;
  /** All or nothing. @throws VimFault DuplicateName or AlreadyExists when the name is taken, and others */
  add(wanted: NewPortGroup): Promise<Attachment>;
  /** Has no effect if it is gone. @throws VimFault ResourceInUse while cards are attached */
  remove(portGroup: Attachment): Promise<void>;
}

/**
 * On the same switch as `like`.
 * @param compute the hosts that are to have it
 * @param onlySwitch there is no other switch, and no VLAN: nobody has to be asked for those of `like`
 */
export function portGroupsLike(
  client: VimClient,
  like: Attachment,
  compute: ManagedObjectReference,
  onlySwitch = false,
): PortGroups {
  const { distributed } = like;
  return distributed === undefined
    ? new HostPortGroups(client, like.portGroup, compute, onlySwitch)
    : new DistributedPortGroups(client, distributed);
}

/** On the switches of a compute resource's hosts, each of which gets one of the name. */
class HostPortGroups implements PortGroups {
  private systems: ManagedObjectReference[] | null = null;

  constructor(
    private readonly client: VimClient,
    private readonly like: string,
    private readonly compute: ManagedObjectReference,
    private readonly onlySwitch: boolean,
  ) {}

  async list(): Promise<FoundPortGroup[]> {
    return (await this.specs()).map(({ name, vlanId }) => ({ portGroup: name, vlan: vlanId }));
  }

  async add({ name, vlan }: NewPortGroup): Promise<Attachment> {
    const model = this.onlySwitch ? undefined : (await this.specs()).find((one) => one.name === this.like);
    const portgrp = {
      name,
      vlanId: vlan ?? model?.vlanId ?? 0,
      vswitchName: model?.vswitchName ?? FIRST_SWITCH,
      policy: {},
    };
    const done: ManagedObjectReference[] = [];
    try {
      for (const system of await this.networkSystems()) {
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
    return { portGroup: name };
  }

  async remove({ portGroup }: Attachment): Promise<void> {
    for (const system of await this.networkSystems())
      await this.client.call('RemovePortGroup', system, { pgName: portGroup }).catch((error: unknown) => {
        if (!isKind(error, 'notFound')) throw error;
      });
  }

  private async specs(): Promise<{ name: string; vlanId: number; vswitchName: string }[]> {
    const systems = await this.client.retrieve(await this.networkSystems(), 'HostNetworkSystem', ['networkInfo']);
    return systems.flatMap(({ props }) => (props.networkInfo?.portgroup ?? []).map(({ spec }) => spec));
  }

  private async networkSystems(): Promise<ManagedObjectReference[]> {
    if (this.systems !== null) return this.systems;
    const [compute] = await this.client.retrieve([this.compute], 'ComputeResource', ['host']);
    const found = await this.client.retrieve(compute?.props.host ?? [], 'HostSystem', ['configManager']);
    this.systems = found.flatMap(({ props }) => props.configManager?.networkSystem ?? []);
    return this.systems;
  }
}

interface DistributedPortGroup extends FoundPortGroup {
  ref: ManagedObjectReference;
  config: DVPortgroupConfigInfo | undefined;
}

/** On the distributed switch of another port group. */
class DistributedPortGroups implements PortGroups {
  private switch: ManagedObjectReference | null = null;

  constructor(
    private readonly client: VimClient,
    private readonly like: DistributedPort,
  ) {}

  async list(): Promise<FoundPortGroup[]> {
    return (await this.all()).map(({ portGroup, distributed, vlan }) => ({ portGroup, distributed, vlan }));
  }

  async add({ name, vlan, description }: NewPortGroup): Promise<Attachment> {
    const model = (await this.all()).find((one) => one.distributed?.portgroupKey === this.like.portgroupKey);
    const no = { inherited: false, value: false };
    const inModels = (model?.config?.defaultPortConfig as VMwareDVSPortSetting | undefined)?.vlan;
    const own =
      vlan === undefined
        ? inModels
        : { $type: 'VmwareDistributedVirtualSwitchVlanIdSpec' as const, inherited: false, vlanId: vlan };
    const dvs = await this.dvs();
    if (dvs === null) throw new Error(`there is no distributed switch ${this.like.switchUuid}`);
    await this.client.runTask('AddDVPortgroup_Task', dvs, {
      spec: [
        {
          ...{ name, description, type: 'earlyBinding', numPorts: PORTS, autoExpand: true },
          defaultPortConfig: {
            $type: 'VMwareDVSPortSetting',
            ...(own === undefined ? {} : { vlan: own }),
            // As for a port group of a host: no card takes another address than its own, or hears others'.
            securityPolicy: { inherited: false, allowPromiscuous: no, macChanges: no, forgedTransmits: no },
          },
        },
      ],
    });
    // The task does not say which object it has made.
    const made = (await this.all()).find(({ portGroup }) => portGroup === name);
    if (made === undefined) throw new Error(`the distributed switch does not show the new port group ${name}`);
    return { portGroup: name, distributed: made.distributed };
  }

  async remove(portGroup: Attachment): Promise<void> {
    const found = (await this.all()).find((one) => segmentOf(one) === segmentOf(portGroup));
    if (found === undefined) return;
    await this.client.runTask('Destroy_Task', found.ref, {}).catch((error: unknown) => {
      if (!isKind(error, 'notFound')) throw error;
    });
  }

  private async all(): Promise<DistributedPortGroup[]> {
    const ref = await this.dvs();
    const [dvs] = ref === null ? [] : await this.client.retrieve([ref], 'DistributedVirtualSwitch', ['portgroup']);
    const found = await this.client.retrieve(dvs?.props.portgroup ?? [], 'DistributedVirtualPortgroup', [
      'name',
      'key',
      'config',
    ]);
    return found.map(({ ref, props: { name = '', key = '', config } }) => ({
      ...{ ref, config, portGroup: name, vlan: vlanOf(config) },
      distributed: { portgroupKey: key, switchUuid: this.like.switchUuid },
    }));
  }

  /** Null if it is gone, and its port groups with it. */
  private async dvs(): Promise<ManagedObjectReference | null> {
    if (this.switch !== null) return this.switch;
    const { viewManager, rootFolder } = this.client.serviceContent;
    const view = await this.client.call('CreateContainerView', viewManager!, {
      container: rootFolder,
      type: ['DistributedVirtualSwitch'],
      recursive: true,
    });
    try {
      const [content] = await this.client.retrieve([view], 'ContainerView', ['view']);
      const all = await this.client.retrieve(content?.props.view ?? [], 'DistributedVirtualSwitch', ['uuid']);
      this.switch = all.find(({ props }) => props.uuid === this.like.switchUuid)?.ref ?? null;
      return this.switch;
    } finally {
      await this.client.call('DestroyView', view, {}).catch(() => undefined);
    }
  }
}

function vlanOf(config: DVPortgroupConfigInfo | undefined): number | null {
  const vlan = (config?.defaultPortConfig as VMwareDVSPortSetting | undefined)?.vlan as
    | { $type?: string; vlanId?: unknown }
    | undefined;
  if (vlan === undefined) return 0;
  return typeof vlan.vlanId === 'number' ? vlan.vlanId : null;
}
