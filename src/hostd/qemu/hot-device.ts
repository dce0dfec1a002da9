/** What a kind of device must be able to do to be plugged into a running VM; see `hot-plug.ts`. */
import type { DatastorePlace } from '../datastore/datastore-places.js';
import type { VmDefinition } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { Qmp } from './qmp.js';
import type { ChannelHost } from './serial-ports.js';

/** What the devices of all VMs share. */
export interface QemuHost extends ChannelHost {
  virtualSwitch: VirtualSwitch;
  datastores: readonly DatastorePlace[];
}

/** The VM that a device belongs to. */
export interface HotVm {
  moid: string;
  /** QEMU's. */
  pid: number;
  qmp: Qmp;
  /** Path of a monitor that nobody else is connected to. */
  monitor: string;
  host: QemuHost;
}

/** A disk's owner, which decides what the disk may be based on. */
export type DiskOwner = Pick<VmDefinition, 'extraConfig' | 'vch'>;

/** One device. All calls may be repeated. */
export interface HotDevice {
  /**
   * Makes what is behind the device.
   * @returns the arguments of `device_add`; null for a device that is not connected, of which QEMU knows nothing
   * @throws CaissonError; nothing is left of it then
   */
  open(owner: DiskOwner): Promise<Record<string, unknown> | null>;
  /** The device's path in QEMU; null when QEMU has none. */
  find(): Promise<string | null>;
  /** Removes what is, or may be, behind a device that is gone. */
  close(): Promise<void>;
}
