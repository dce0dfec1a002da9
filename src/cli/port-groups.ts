/** Port groups for vic-machine: finding those that options name, making those that a single host lacks, and removing what an endpoint made. */
import { madePortGroups, type VchConfig } from '../../port-layer/config.js';
import { isEmbedded } from '../common/embedded-host.js';
import { invalid, isKind, messageOf, unsupported } from '../common/errors.js';
import {
  type Attachment,
  attachmentOf,
  type ManagedObjectReference,
  type PortGroups,
  portGroupsLike,
  segmentOf,
  type VimClient,
} from '../vim25/index.js';
import { findObject, listObjects } from './inventory.js';

/** A port group of the inventory. */
export interface FoundNetwork extends Attachment {
  ref: ManagedObjectReference;
}

/**
 * The port group of that name or inventory path; undefined if there is none.
 * @param text `LAN`, or `/datacenter/network/LAN`, which tells several of one name apart
 * @throws invalid for several of the name, and for a port group that machines cannot be attached to; unsupported
 */
export async function findNetwork(client: VimClient, text: string, option: string): Promise<FoundNetwork | undefined> {
  const named = (await listObjects(client, 'Network')).filter(({ name, ref }) => name === text || ref.value === text);
  if (named.length > 1)
    throw invalid(`${option} '${text}' is ambiguous: give its path in the inventory, such as /datacenter/network/NAME`);
  const ref = named[0]?.ref ?? (await atPath(client, text));
  return ref === undefined ? undefined : attachable(client, ref, text, option);
}

async function atPath(client: VimClient, path: string): Promise<ManagedObjectReference | undefined> {
  const { searchIndex } = client.serviceContent;
  if (!path.includes('/') || searchIndex === undefined) return undefined;
  const found = await client.call('FindByInventoryPath', searchIndex, { inventoryPath: path.replace(/^\//, '') });
  return found !== undefined && /Network$|Portgroup$/.test(found.type) ? found : undefined;
}

async function attachable(
  client: VimClient,
  ref: ManagedObjectReference,
  text: string,
  option: string,
): Promise<FoundNetwork> {
  if (ref.type === 'OpaqueNetwork')
    throw unsupported(
      `${option} '${text}' is an opaque network (NSX): only standard and distributed port groups can be used`,
    );
  if (ref.type !== 'DistributedVirtualPortgroup') {
    const [network] = await client.retrieve([ref], 'Network', ['name']);
    return { ref, portGroup: network?.props.name ?? text };
  }
  const [group] = await client.retrieve([ref], 'DistributedVirtualPortgroup', ['name', 'key', 'config', 'tag']);
  const { name = text, key, config, tag } = group?.props ?? {};
  if (config?.uplink === true || tag?.some((one) => one.key === 'SYSTEM/DVS.UPLINKPG'))
    throw invalid(`${option} '${text}' is the port group of a switch's uplinks`);
  const dvs = config?.distributedVirtualSwitch;
  const [of] = dvs === undefined ? [] : await client.retrieve([dvs], 'DistributedVirtualSwitch', ['uuid']);
  if (key === undefined || of?.props.uuid === undefined)
    throw invalid(`${option} '${text}': its distributed switch cannot be seen by this user`);
  return { ref, portGroup: name, distributed: { portgroupKey: key, switchUuid: of.props.uuid } };
}

/**
 * The port group of that name, which is made on a single host that has none.
 * @param check refuses it, before one is made
 * @returns it, and whether it was made
 * @throws invalid when it is missing on a vCenter
 */
export async function provideNetwork(
  client: VimClient,
  text: string,
  option: string,
  check: (attachment: Attachment) => void = () => undefined,
): Promise<{ network: FoundNetwork; made: boolean }> {
  const found = await findNetwork(client, text, option);
  check(found ?? { portGroup: text });
  if (found !== undefined) return { network: found, made: false };
  if (client.serviceContent.about.apiType !== 'HostAgent')
    throw invalid(`${option} '${text}' was not found. On a vCenter, create the port group first.`);
  await client.call('AddPortGroup', await hostNetworkSystem(client), {
    portgrp: { name: text, vlanId: 0, vswitchName: 'vSwitch0', policy: {} },
  });
  const { ref } = await findObject(client, 'Network', text, option);
  return { network: { ref, portGroup: text }, made: true };
}

/** The object of a configured port group. @throws invalid when it is gone */
export async function networkObject(client: VimClient, wanted: Attachment): Promise<ManagedObjectReference> {
  const all = await listObjects(client, 'Network');
  const { portGroup, distributed } = wanted;
  const refs = all.map(({ ref }) => ref).filter(({ type }) => type === 'DistributedVirtualPortgroup');
  const found =
    distributed === undefined
      ? all.find(({ name, ref }) => name === portGroup && ref.type === 'Network')?.ref
      : (await client.retrieve(refs, 'DistributedVirtualPortgroup', ['key'])).find(
          ({ props }) => props.key === distributed.portgroupKey,
        )?.ref;
  if (found === undefined) throw invalid(`the port group '${portGroup}' was not found`);
  return found;
}

/** The distributed switch of a port group; undefined for one of a host. */
export async function switchObject(client: VimClient, wanted: Attachment): Promise<ManagedObjectReference | undefined> {
  if (wanted.distributed === undefined) return undefined;
  const group = await networkObject(client, wanted);
  const [object] = await client.retrieve([group], 'DistributedVirtualPortgroup', ['config']);
  return object?.props.config?.distributedVirtualSwitch;
}

/** Removes a port group of a single host. @throws VimFault ResourceInUse while cards are attached */
export async function removePortGroup(client: VimClient, name: string): Promise<void> {
  await client.call('RemovePortGroup', await hostNetworkSystem(client), { pgName: name });
}

async function hostNetworkSystem(client: VimClient): Promise<ManagedObjectReference> {
  const host = await findObject(client, 'HostSystem', undefined, 'host');
  const [object] = await client.retrieve([host.ref], 'HostSystem', ['configManager']);
  const system = object?.props.configManager?.networkSystem;
  if (system === undefined) throw invalid('the host has no network system');
  return system;
}

/**
 * Removes what an endpoint, which is off and whose containers are gone, has made for networks: its own cards on them, then their port groups.
 * Those that it cannot tell to be its own stay, as do those that others use; each is told. Whatever fails, the rest is removed.
 * The embedded host does it by itself.
 */
export async function removeMadePortGroups(
  client: VimClient,
  config: VchConfig,
  endpoint: ManagedObjectReference,
  progress: (step: string) => void,
): Promise<void> {
  if (isEmbedded(client.serviceContent.about)) return;
  const [vm] = await client.retrieve([endpoint], 'VirtualMachine', ['config.extraConfig', 'config.hardware']);
  const keys = new Map((vm?.props['config.extraConfig'] ?? []).map(({ key, value }) => [key, String(value ?? '')]));
  const { known, names } = madePortGroups(config, keys);
  if (known.length + names.length === 0) return;
  const places = await placesOf(client, config);
  const loose = names.length === 0 ? [] : (await places.list()).filter(({ portGroup }) => names.includes(portGroup));
  const made = new Map([...known, ...loose].map((one) => [segmentOf(one), one]));
  const cards = (vm?.props['config.hardware']?.device ?? []).filter(
    (device) => 'macAddress' in device && made.has(segmentOf(attachmentOf(device.backing))),
  );
  if (cards.length > 0)
    await client.runTask('ReconfigVM_Task', endpoint, {
      spec: {
        deviceChange: cards.map(({ key }) => ({ operation: 'remove', device: { $type: 'VirtualVmxnet3', key } })),
      },
    });
  for (const one of made.values()) {
    progress(`Removing the port group "${one.portGroup}"`);
    await places.remove(one).catch((error: unknown) => {
      if (!isKind(error, 'conflict') && !isKind(error, 'forbidden')) throw error;
      progress(`The port group "${one.portGroup}" stays: ${messageOf(error)}`);
    });
  }
}

async function placesOf(client: VimClient, { resourcePool, networks }: VchConfig): Promise<PortGroups> {
  const [pool] = await client.retrieve([resourcePool], 'ResourcePool', ['owner']);
  const owner = pool?.props.owner;
  if (owner === undefined) throw invalid('the resource pool has no owner');
  return portGroupsLike(client, networks[0], owner);
}
