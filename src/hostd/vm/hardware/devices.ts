/** All kinds of devices together: changes a VM's hardware, shows it, and handles its part of the .vmx file. */
import type { VirtualDeviceConfigSpec } from '../../../vim25/server.js';
import { fault } from '../../faults.js';
import type {
  DeviceChange,
  DeviceContext,
  DeviceKind,
  DeviceSurroundings,
  NewDisk,
  RequestedDevice,
} from './device-kind.js';
import { disks } from './disks.js';
import { fixedDevices, isFixedDevice } from './fixed-devices.js';
import { emptyHardware, type Hardware } from './hardware.js';
import { networkCards } from './network-cards.js';
import { scsiControllers } from './scsi-controllers.js';
import { serialPorts } from './serial-ports.js';

/** The kinds, in the order in which they are shown and written. */
const KINDS: readonly DeviceKind<{ key: number }>[] = [scsiControllers, disks, networkCards, serialPorts] as never;
const kindByType = new Map(KINDS.flatMap((kind) => kind.types.map((type) => [type, kind])));

/** The result of device changes. */
export interface ChangedHardware {
  hardware: Hardware;
  /** Disks whose files have to be made. */
  create: NewDisk[];
  /** Files of removed disks that have to be deleted. */
  removedFiles: string[];
}

/**
 * Applies device changes to a copy of the hardware.
 * @throws InvalidDeviceSpec and relatives for what this host cannot do
 */
export function applyDeviceChanges(
  before: Hardware,
  changes: readonly VirtualDeviceConfigSpec[],
  context: DeviceContext,
): ChangedHardware {
  const hardware = structuredClone(before);
  const create: NewDisk[] = [];
  const removedFiles: string[] = [];
  const controllers = new Map(hardware.controllers.map((controller) => [controller.key, controller]));
  for (const [index, { operation, fileOperation, device: given }] of changes.entries()) {
    const device = given as RequestedDevice;
    const change: DeviceChange = {
      device,
      fileOperation,
      hardware,
      controllers,
      create,
      context,
      bad: (message) =>
        change.fault('InvalidDeviceSpec', `Device ${index} (${device.$type ?? 'unknown'}): ${message}`, 'device'),
      fault: (type, message, property) => fault(type, message, { deviceIndex: index, property }),
    };
    if (operation === 'remove') {
      const file = remove(change);
      if (fileOperation === 'destroy' && file !== null) removedFiles.push(file);
      continue;
    }
    if (operation !== 'add' && operation !== 'edit') throw change.bad('an operation is required');
    const kind = kindByType.get(device.$type ?? '');
    if (kind === undefined) {
      const type = device.$type ?? 'VirtualDevice';
      const message = `Devices of type ${type} are not supported by this host`;
      throw change.fault('DeviceUnsupportedForVmPlatform', message, 'device');
    }
    kind[operation](change);
  }
  return { hardware, create, removedFiles };
}

/** Removes the device with the key of the request. @returns the file of a disk; null for other devices */
function remove({ device: { key }, hardware, bad, fault: faultOf }: DeviceChange): string | null {
  if (isFixedDevice(key)) throw bad('every virtual machine has it: it cannot be removed');
  for (const kind of KINDS) {
    const devices = kind.of(hardware);
    const index = devices.findIndex((one) => one.key === key);
    if (index < 0) continue;
    const file = hardware.disks.find((disk) => disk.key === key)?.file ?? null;
    devices.splice(index, 1);
    return file;
  }
  throw faultOf('DeviceNotFound', `There is no device with key ${key}`, 'device');
}

/** All devices as vim25 has them (VirtualDevice[]); those that every VM has come first. */
export function showDevices(hardware: Hardware, around: DeviceSurroundings): object[] {
  const keys = (devices: readonly { key: number }[]): number[] => devices.map(({ key }) => key);
  return [
    ...fixedDevices([...keys(hardware.controllers), ...keys(hardware.nics)], keys(hardware.serials)),
    ...KINDS.flatMap((kind) => kind.of(hardware).map((device, index) => kind.show(device, index, hardware, around))),
  ];
}

/** The devices as .vmx settings. */
export function* vmxDevices(hardware: Hardware): Iterable<[string, string]> {
  for (const kind of KINDS) for (const device of kind.of(hardware)) yield* kind.settings(device);
}

/** True for .vmx keys that belong to devices. */
export function isDeviceKey(key: string): boolean {
  const dot = key.indexOf('.');
  return dot > 0 && KINDS.some(({ section }) => section.test(key.slice(0, dot)));
}

/** Reads the devices back from .vmx settings. */
export function readVmxDevices(vmx: ReadonlyMap<string, string>): Hardware {
  const hardware = emptyHardware();
  for (const [key, value] of vmx) {
    const name = /^([^.]+)\.present$/.exec(key)?.[1];
    if (name === undefined || value !== 'TRUE') continue;
    const kind = KINDS.find(({ section }) => section.test(name));
    if (kind === undefined) continue;
    const [first = 0, second = 0] = [...name.matchAll(/\d+/g)].map(([digits]) => Number(digits));
    const setting = (suffix: string): string => vmx.get(`${name}.${suffix}`) ?? '';
    kind.of(hardware).push(kind.read({ numbers: [first, second], setting }));
  }
  return hardware;
}
