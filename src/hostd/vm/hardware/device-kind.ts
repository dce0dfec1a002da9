/** What defines a kind of device: how a request changes it, how vim25 shows it, and how a .vmx file stores it. */
import type { ManagedObjectReference, VirtualDevice } from '../../../vim25/server.js';
import type { DiskFacts } from '../disk-facts.js';
import type { Controller, Disk, Hardware } from './hardware.js';

/** Any device in a request; the codec has checked its type. */
export type RequestedDevice = VirtualDevice & {
  $type?: string;
  busNumber?: number;
  capacityInKB?: number;
  capacityInBytes?: number;
  macAddress?: string;
  addressType?: string;
  backing?: Record<string, unknown> & { $type?: string };
};

/** A disk for which a device change has to make a file. */
export interface NewDisk {
  disk: Disk;
  parent: string | null;
  capacityBytes: number;
}

/** What a device change needs to know of the inventory. */
export interface DeviceContext {
  portGroups: { has(name: string): boolean };
  defaultDiskFile(index: number): string;
  /** How many network cards the VM may have. */
  maxCards: number;
}

/** One change in a request, and what it applies to. */
export interface DeviceChange {
  device: RequestedDevice;
  fileOperation: string | undefined;
  /** The hardware with all changes before this one. */
  hardware: Hardware;
  /** Controllers by the keys that the request uses for them (often negative) and by those they were given. */
  controllers: Map<number, Controller>;
  /** Disks whose files have to be made. */
  create: NewDisk[];
  context: DeviceContext;
  /** InvalidDeviceSpec. */
  bad(message: string): Error;
  /** A fault about a property of this device. */
  fault(type: string, message: string, property: string): Error;
}

/** What showing a device in vim25 needs besides the VM's hardware. */
export interface DeviceSurroundings {
  /** The datastore of a file, by its datastore path. */
  datastoreOf(file: string): ManagedObjectReference;
  /** A port group's network. */
  networkOf(portGroup: string): ManagedObjectReference | undefined;
  /** A disk by its datastore path; `parent` is a datastore path. */
  disk(file: string): DiskFacts | null;
  /** Whether the VM runs: nothing is connected in one that does not. */
  on: boolean;
}

/** The settings of one device in a .vmx file: those that begin with its name. */
export interface VmxSection {
  /** The numbers in its name: `scsi0:1` has 0 and 1. */
  numbers: readonly [first: number, second: number];
  /** A setting, by its key without the device's name; '' if it is not set. */
  setting(suffix: string): string;
}

/** A kind of device. */
export interface DeviceKind<Device extends { key: number }> {
  /** Its types in vim25. */
  readonly types: readonly string[];
  /** The devices of this kind. */
  of(hardware: Hardware): Device[];
  /** @throws InvalidDeviceSpec and relatives */
  add(change: DeviceChange): void;
  /** @throws InvalidDeviceSpec and relatives */
  edit(change: DeviceChange): void;
  /** The device as vim25 has it. @param index among the devices of its kind */
  show(device: Device, index: number, hardware: Hardware, around: DeviceSurroundings): object;
  /** Names of its sections in a .vmx file. */
  readonly section: RegExp;
  /** Its settings in a .vmx file. */
  settings(device: Device): Iterable<[string, string]>;
  /** A device from its settings. */
  read(section: VmxSection): Device;
}

/** The label and summary of a device. */
export function label(name: string, summary = name): object {
  return { label: name, summary };
}
