/** Which parts of a VM's configuration a caller may set: the files, sockets and networks that it uses, and its keys. */
import { normalize } from 'node:path';
import type { ManagedObjectReference as Ref, VirtualMachineConfigSpec } from '../../vim25/server.js';
import { type Caller, mustHave, noPermission, restrictedCaller } from '../access/caller.js';
import { isEndpointConfig, OWNER_KEY } from '../access/scope.js';
import type { ManagedObject } from '../objects/managed-object.js';
import { TRUST_KEY } from './card-trust.js';
import type { NewDisk } from './hardware/device-kind.js';
import type { Hardware, Serial } from './hardware/hardware.js';
import type { Machine } from './machine.js';
import type { VmHost } from './vm-host.js';

/** Keys below `caisson.` that mean nothing to the host, or affect only the VM itself. */
const FREE_KEYS = new Set(['caisson.container', 'caisson.run', 'caisson.log.keep', 'caisson.addresses', TRUST_KEY]);
const OWN_KEY = /^caisson\./i;
const UNIX = 'unix://';

const PRIVILEGES: Partial<Record<keyof VirtualMachineConfigSpec, string>> = {
  name: 'VirtualMachine.Config.Rename',
  annotation: 'VirtualMachine.Config.Annotation',
  numCPUs: 'VirtualMachine.Config.CPUCount',
  memoryMB: 'VirtualMachine.Config.Memory',
  cpuAllocation: 'VirtualMachine.Config.Resource',
  extraConfig: 'VirtualMachine.Config.AdvancedConfig',
};

/** Refuses a change of an existing VM for which the caller lacks a privilege. @throws NoPermission */
export function checkChange(machine: ManagedObject, spec: VirtualMachineConfigSpec): void {
  if (restrictedCaller() === undefined) return;
  const { $type: _type, changeVersion: _version, deviceChange, ...rest } = spec;
  for (const key of Object.keys(rest) as (keyof typeof rest)[])
    if (rest[key] !== undefined) mustHave(machine, PRIVILEGES[key] ?? 'VirtualMachine.Config.Settings');
  for (const { operation, fileOperation, device } of deviceChange ?? []) {
    if ((device as { $type?: string }).$type !== 'VirtualDisk') {
      const privilege = operation === 'edit' ? 'EditDevice' : 'AddRemoveDevice';
      mustHave(machine, `VirtualMachine.Config.${privilege}`);
    } else if (operation === 'add')
      mustHave(machine, `VirtualMachine.Config.${fileOperation === 'create' ? 'AddNewDisk' : 'AddExistingDisk'}`);
    else mustHave(machine, 'VirtualMachine.Config.RemoveDisk');
  }
}

/** Refuses keys that would make the VM somebody else's, or one of the host's own. @throws NoPermission */
export function checkKeys(
  host: VmHost,
  machine: ManagedObject,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): void {
  if (restrictedCaller() === undefined) return;
  const owner = ownerOf(host, machine.property('resourcePool') as Ref);
  // This key is how the VM is found when its virtual container host is removed.
  if (owner !== undefined && after.get(OWNER_KEY) !== owner)
    throw noPermission(
      machine.ref,
      'VirtualMachine.Config.AdvancedConfig',
      `a machine in this pool is the virtual container host's, and the key '${OWNER_KEY}' says so`,
    );
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    if (before.get(key) === after.get(key) || !OWN_KEY.test(key) || FREE_KEYS.has(key)) continue;
    if (key === OWNER_KEY && after.get(key) === owner) continue;
    throw noPermission(
      machine.ref,
      'VirtualMachine.Config.AdvancedConfig',
      `the key '${key}' is an administrator's to set`,
    );
  }
}

/** Ids of the virtual container hosts whose login the caller has: it may put VMs into their pools. */
export function vchsOf(host: Pick<VmHost, 'machines' | 'registry'>, caller: Caller): string[] {
  return host.machines.all().flatMap(({ config, pool }) => {
    const id = isEndpointConfig(config.extraConfig) ? config.extraConfig.get(OWNER_KEY) : undefined;
    const place = host.registry.find(pool);
    return id !== undefined && place !== undefined && caller.has(place, 'Resource.AssignVMToPool') ? [id] : [];
  });
}

/** Id of the virtual container host that owns this pool or one of the pools above it. */
export function ownerOf(host: VmHost, pool: Ref): string | undefined {
  return endpointOf(host, pool)?.config.extraConfig.get(OWNER_KEY);
}

/** The endpoint VM of the virtual container host that owns this pool or one of the pools above it. */
export function endpointOf(host: VmHost, pool: Ref): Machine | undefined {
  const endpoints = host.machines.all().filter(({ config }) => isEndpointConfig(config.extraConfig));
  for (let at: Ref | undefined = pool; at?.type === 'ResourcePool'; ) {
    const { value } = at;
    const endpoint = endpoints.find((vm) => vm.pool.value === value);
    if (endpoint !== undefined) return endpoint;
    at = host.registry.find(at)?.property('parent') as Ref | undefined;
  }
  return undefined;
}

/**
 * Refuses new devices that use something the caller may not use.
 * @throws NoPermission, InvalidDatastorePath
 */
export async function checkDevices(
  host: VmHost,
  machine: ManagedObject,
  before: Hardware,
  after: Hardware,
  files: { create: NewDisk[]; removed: string[] } = { create: [], removed: [] },
): Promise<void> {
  const { files: datastore } = host;
  const there = <T>(list: T[], one: T): boolean => list.some((other) => JSON.stringify(other) === JSON.stringify(one));
  for (const disk of after.disks)
    if (!there(before.disks, disk))
      await datastore.locate(disk.file, disk.mode === 'independent_nonpersistent' ? 'read' : 'write');
  for (const { disk, parent } of files.create) {
    await datastore.locate(disk.file, 'write');
    if (parent !== null) await datastore.locate(parent, 'read');
  }
  for (const file of files.removed) await datastore.locate(file, 'write');
  for (const { backing } of after.serials)
    if (!before.serials.some((one) => JSON.stringify(one.backing) === JSON.stringify(backing)))
      await checkSerial(host, machine, backing);
  for (const { portGroup } of after.nics) {
    const network = host.portGroups.networkOf(portGroup);
    if (network !== undefined && !before.nics.some((one) => one.portGroup === portGroup))
      mustHave(host.registry.get(network), 'Network.Assign');
  }
}

async function checkSerial(host: VmHost, machine: ManagedObject, backing: Serial['backing']): Promise<void> {
  if (backing.kind === 'file') {
    await host.files.locate(backing.file, 'write');
    return;
  }
  if (restrictedCaller() === undefined) return;
  const path = backing.serviceUri.slice(UNIX.length);
  if (path !== normalize(path) || path.includes('\0') || !host.fileAccess.maySocket(path))
    throw noPermission(machine.ref, 'VirtualMachine.Config.AddRemoveDevice');
}
