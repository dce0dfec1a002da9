/**
 * The seam between hostd's inventory (the vim25 side) and what runs a powered-on VM: QEMU for container VMs, a local process for the
 * endpoint VM. The inventory calls down through {@link VmRuntime}; what happens in a running VM comes up through {@link VmHooks}.
 */

import type { CardTrust } from './switch/trust-rules.js';

/** A disk as the hypervisor needs it. */
export interface RuntimeDisk {
  bus: number;
  unit: number;
  /** Absolute path of the VMDK. */
  path: string;
  readOnly: boolean;
}

/** A network card as the hypervisor needs it. */
export interface RuntimeNic {
  /** Its number in the VM, which stays the same while other cards come and go. The guest's first card need not be 0. */
  index: number;
  mac: string;
  /** Name of the port group (the bridge) it is plugged into. */
  portGroup: string;
  connected: boolean;
  /** Addresses that it may send from; undefined: any. */
  addresses?: readonly string[] | undefined;
  /** Id of the virtual container host whose container has it. */
  vch?: string | undefined;
  /** How far its network is trusted; undefined: it is not a container network's. */
  trust?: CardTrust | undefined;
}

/** A serial port, in the order of the VM's serial ports; shown to the guest as virtio port `serialN`. */
export interface RuntimeSerial {
  index: number;
  backing:
    | { kind: 'file'; path: string }
    /** A unix socket on which somebody (the endpoint) listens; reconnected whenever the connection is lost. */
    | { kind: 'unixClient'; path: string };
}

/** A device that a VM can get or lose while it runs. */
export type RuntimeDevice = { kind: 'nic'; nic: RuntimeNic } | { kind: 'disk'; disk: RuntimeDisk };

/** All that the hypervisor needs to know about one VM. */
export interface VmDefinition {
  /** Managed object id, e.g. `vm-12`. */
  moid: string;
  uuid: string;
  name: string;
  /** Absolute path of the VM's directory on its datastore. */
  directory: string;
  cpus: number;
  memoryMiB: number;
  disks: RuntimeDisk[];
  nics: RuntimeNic[];
  serials: RuntimeSerial[];
  extraConfig: ReadonlyMap<string, string>;
  /** Id of the virtual container host whose pool it is in, whatever its keys say; undefined if it is in nobody's. */
  vch?: string | undefined;
}

/** Why a VM stopped running. */
export type VmExit =
  | { reason: 'guestPowerOff' }
  | { reason: 'guestReset' }
  | { reason: 'powerOff' }
  | { reason: 'crashed'; message: string };

/** What a running VM tells the inventory. */
export interface VmHooks {
  /** GuestRPC `info-get KEY`: the value of an extraConfig key that begins with `guestinfo.`, or undefined. */
  infoGet(key: string): string | undefined;
  /** GuestRPC `info-set KEY VALUE`: throws when the key may not be written by a guest. */
  infoSet(key: string, value: string): void;
  /** The VM has stopped because a disk could not be written for lack of space. */
  stalled(): void;
  /** Called exactly once, when the VM no longer runs. */
  exited(exit: VmExit): void;
}

/** A VM that is powered on. */
export interface RunningVm {
  readonly pid: number;
  readonly startedAt: Date;
  /** Hard power-off; resolves when the process is gone and its taps are removed. */
  powerOff(): Promise<void>;
  reset(): Promise<void>;
  /** Asks the guest to shut down (GuestRPC `OS_Halt`); resolves when it has been asked. */
  shutdownGuest(): Promise<void>;
  /** Asks the guest to reboot (GuestRPC `OS_Reboot`). */
  rebootGuest(): Promise<void>;
  suspend(): Promise<void>;
  /** Continues the VM and asks the guest to set its clock (GuestRPC `OS_Resume`). */
  resume(): Promise<void>;
  /** Whether it is stopped because a disk could not be written. */
  stalled(): Promise<boolean>;
  /** Whether it is suspended. */
  suspended(): Promise<boolean>;
  /**
   * Gives the VM a device.
   * @param owner decides which disks a new disk may be based on
   * @throws CaissonError `insufficientResources` if the VM has no free slot, `invalid` for a disk that cannot be used, `unsupported`,
   *   `internal`; the VM is unchanged then
   */
  plug(device: RuntimeDevice, owner: Pick<VmDefinition, 'extraConfig' | 'vch'>): Promise<void>;
  /**
   * Takes a device from the VM. It is no error if the VM does not have it, or has lost it already.
   * @throws CaissonError `timeout` if the guest does not release it, `unsupported`, `internal`; the VM still has it then
   */
  unplug(device: RuntimeDevice): Promise<void>;
  /**
   * From now on, the VM writes to another file instead of a disk's, and only reads the disk's. @param to path of an empty VMDK that stands on
   * the disk. @throws CaissonError; the VM is unchanged then
   */
  switchDisk(disk: RuntimeDisk, to: string): Promise<void>;
  /** The VM lets go of files of a disk that it was given by a hostd that was killed, and does not use. @throws CaissonError */
  releaseDisk(disk: RuntimeDisk): Promise<void>;
  /**
   * Disks that a disk stands on have taken each other's places: from now on, the VM reads those that are there now, and lets go of the files
   * that are not. @throws CaissonError; the VM still has the former files then, and reads the same from them
   */
  relinkDisk(disk: RuntimeDisk, owner: Pick<VmDefinition, 'extraConfig' | 'vch'>): Promise<void>;
  /** Host memory and processor time that the VM really uses. */
  usage(): Promise<{ residentBytes: number; cpuSeconds: number }>;
  /** Lets go of the VM when hostd stops; the VM keeps running. */
  release(): void;
}

/** Starts VMs and finds running ones again. */
export interface VmRuntime {
  /**
   * Starts a VM; resolves when it runs.
   * @throws CaissonError `insufficientResources` if the host cannot carry it, `internal` if it died while starting; nothing is left behind
   * then
   */
  powerOn(vm: VmDefinition, hooks: VmHooks, signal?: AbortSignal): Promise<RunningVm>;
  /** Finds the VM's process if it is still running from before hostd was restarted. Cleans up after one that died meanwhile. */
  adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null>;
  /** Removes what is kept on the machine for a VM that is off and about to be destroyed, besides its own directory. */
  forget?(vm: VmDefinition): Promise<void>;
}
