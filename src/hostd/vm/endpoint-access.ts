/**
 * What the login of a virtual container host may change of its own endpoint VM, which decides what a process on this machine may do:
 * network cards, and the keys in which the endpoint keeps its networks.
 */
import { noPermission, restrictedCaller } from '../access/caller.js';
import type { GuardedObject } from '../access/guarded-object.js';
import { isEndpointConfig, OWNER_KEY } from '../access/scope.js';
import { fault } from '../faults.js';
import type { ManagedObject } from '../objects/managed-object.js';
import type { Hardware } from './hardware/hardware.js';
import type { VmConfig } from './vm-config.js';
import type { VmHost } from './vm-host.js';

/** Keys that mean something to the endpoint, and to the host only after it has checked them. */
const KEYS = new Set(['caisson.networks', 'caisson.policy', 'caisson.policy.ask']);

/** Refuses any other change of an endpoint VM. @throws NoPermission */
export function checkEndpointKeys(machine: ManagedObject, before: VmConfig, after: VmConfig): void {
  if (restrictedCaller() === undefined) return;
  for (const key of new Set([...before.extraConfig.keys(), ...after.extraConfig.keys()]))
    if (before.extraConfig.get(key) !== after.extraConfig.get(key) && !KEYS.has(key))
      throw noPermission(
        machine.ref,
        'VirtualMachine.Config.AdvancedConfig',
        `the key '${key}' of an endpoint is an administrator's to set`,
      );
}

/** Refuses any change of an endpoint VM's devices but of its network cards. @throws NoPermission */
export function checkEndpointDevices(
  machine: ManagedObject,
  { extraConfig }: VmConfig,
  before: Hardware,
  after: Hardware,
): void {
  if (restrictedCaller() === undefined || !isEndpointConfig(extraConfig)) return;
  const others = ({ nics: _nics, ...rest }: Hardware): string => JSON.stringify(rest);
  if (others(before) !== others(after))
    throw noPermission(
      machine.ref,
      'VirtualMachine.Config.AddRemoveDevice',
      'an endpoint gets and loses only network cards',
    );
}

/**
 * Refuses to connect an endpoint VM to a port group that another virtual container host has made, whoever asks for it: a host could make
 * port groups with names that an administrator is about to use for the next one. @throws InvalidDeviceBacking
 */
export function checkEndpointNetworks(
  host: Pick<VmHost, 'portGroups' | 'registry'>,
  { extraConfig }: VmConfig,
  { nics }: Hardware,
): void {
  if (!isEndpointConfig(extraConfig)) return;
  for (const { portGroup } of nics) {
    const ref = host.portGroups.networkOf(portGroup);
    const { madeBy } = (ref === undefined ? undefined : (host.registry.find(ref) as GuardedObject | undefined)) ?? {};
    if (madeBy !== undefined && madeBy !== extraConfig.get(OWNER_KEY))
      throw fault('InvalidDeviceBacking', `The port group '${portGroup}' is another virtual container host's`, {
        property: 'backing',
        deviceIndex: 0,
      });
  }
}
