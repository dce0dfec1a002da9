/** A VM as the runtime needs it. */
import type { RuntimeDevice, RuntimeDisk, RuntimeNic, RuntimeSerial, VmDefinition } from '../runtime.js';
import { assignedAddresses } from './assigned-addresses.js';
import { type TrustedNetwork, trustedPortsOf } from './card-trust.js';
import { diskKey, KEY } from './hardware/device-keys.js';
import type { Disk, Nic, Serial } from './hardware/hardware.js';
import { socketOf } from './hardware/serial-ports.js';
import type { VmConfig } from './vm-config.js';

/** The local path of a datastore path. */
type Resolve = (file: string) => string;

export function runtimeDisk({ bus, unit, file, mode }: Disk, resolve: Resolve): RuntimeDisk {
  // What a guest writes to such a disk must be gone after its run, so here it cannot write to it at all.
  return { bus, unit, path: resolve(file), readOnly: mode === 'independent_nonpersistent' };
}

/** @param assigned the addresses that each card may send from, by MAC address; undefined: any */
export function runtimeNic(
  { mac, portGroup, connected }: Nic,
  index: number,
  assigned: ReadonlyMap<string, string[]> | undefined,
): RuntimeNic {
  const addresses = assigned === undefined ? undefined : (assigned.get(mac.toLowerCase()) ?? []);
  return { index, mac, portGroup, connected, addresses };
}

/**
 * @param vch id of the virtual container host that owns the VM
 * @param networks its container networks, by port group
 */
export function runtimeNics(
  { hardware, extraConfig }: VmConfig,
  vch: string | undefined,
  networks: ReadonlyMap<string, TrustedNetwork> = new Map(),
): RuntimeNic[] {
  const assigned = assignedAddresses(extraConfig);
  const ports = networks.size === 0 ? undefined : trustedPortsOf(extraConfig);
  // Numbered by key, so that a card keeps its number when one before it is removed.
  return hardware.nics.map((nic) => {
    const card = { ...runtimeNic(nic, nic.key - KEY.nic, assigned), vch };
    const network = networks.get(nic.portGroup);
    if (network === undefined) return card;
    return { ...card, trust: { ...network, ports: ports?.get(nic.mac.toLowerCase()) ?? [] } };
  });
}

/** The device with that key in vim25. */
export function deviceOf({ disks, nics }: VmDefinition, kind: RuntimeDevice['kind'], key: number): RuntimeDevice {
  return kind === 'nic'
    ? { kind, nic: nics.find(({ index }) => KEY.nic + index === key)! }
    : { kind, disk: disks.find(({ bus, unit }) => diskKey(bus, unit) === key)! };
}

export function runtimeSerial({ backing }: Serial, index: number, resolve: Resolve): RuntimeSerial {
  return {
    index,
    backing:
      backing.kind === 'file'
        ? { kind: 'file', path: resolve(backing.file) }
        : { kind: 'unixClient', path: socketOf(backing.serviceUri) },
  };
}
