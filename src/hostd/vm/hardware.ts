/** A VM's hardware: a small model, its form in the .vmx file, and vim25 device changes applied to it. */
import { randomBytes } from 'node:crypto';
import type { VirtualDevice, VirtualDeviceConfigSpec } from '../../vim25/types.generated.js';
import { fault } from '../faults.js';
import { isFixedDevice, KEY } from './fixed-devices.js';

export interface Disk {
  key: number;
  bus: number;
  unit: number;
  /** Datastore path. */
  file: string;
  mode: string;
}

export interface Nic {
  key: number;
  /** Its type in vim25. */
  type: string;
  portGroup: string;
  mac: string;
  manualMac: boolean;
  connected: boolean;
}

export interface Serial {
  key: number;
  backing: { kind: 'file'; file: string } | { kind: 'uri'; serviceUri: string; direction: string; proxyUri?: string };
}

/** All devices that a VM here can have. */
export interface Hardware {
  controllers: { key: number; bus: number; type: string }[];
  disks: Disk[];
  nics: Nic[];
  serials: Serial[];
}

/** What the URI of a serial port's socket begins with. */
const UNIX = 'unix://';
const MAX_CONTROLLERS = 4;
const MAX_UNITS = 16;
const MAX_NICS = 64;
const MAX_SERIALS = 32;
/** Of a socket's path; one cannot connect to a longer one. */
const MAX_SOCKET = 107;
const DISK_MODES = new Set([
  'persistent',
  'nonpersistent',
  'undoable',
  'append',
  'independent_persistent',
  'independent_nonpersistent',
]);
/** The controller itself. */
export const CONTROLLER_UNIT = 7;

/** Kinds of controllers and cards by their name in the .vmx file. The guest sees a virtio device whatever the name is. */
const CONTROLLERS = new Map([
  ['pvscsi', 'ParaVirtualSCSIController'],
  ['lsilogic', 'VirtualLsiLogicController'],
  ['lsisas1068', 'VirtualLsiLogicSASController'],
]);
const NICS = new Map([
  ['vmxnet3', 'VirtualVmxnet3'],
  ['e1000', 'VirtualE1000'],
  ['e1000e', 'VirtualE1000e'],
]);
const nameOf = (kinds: Map<string, string>, type: string): string =>
  [...kinds].find(([, one]) => one === type)?.[0] ?? [...kinds.keys()][0]!;

export function emptyHardware(): Hardware {
  return { controllers: [], disks: [], nics: [], serials: [] };
}

/** A disk that a device change wants made. */
export interface NewDisk {
  disk: Disk;
  parent: string | null;
  capacityBytes: number;
}

/** What the inventory knows and a device change needs. */
export interface HardwareContext {
  portGroups: { has(name: string): boolean };
  defaultDiskFile(index: number): string;
}

/** Any device in a request: the codec has checked its type. */
type AnyDevice = VirtualDevice & {
  $type?: string;
  busNumber?: number;
  capacityInKB?: number;
  capacityInBytes?: number;
  macAddress?: string;
  addressType?: string;
  backing?: Record<string, unknown> & { $type?: string };
};

/**
 * Applies device changes to a copy of the hardware.
 * @returns the new hardware and the disks whose files must be made
 * @throws InvalidDeviceSpec and relatives for what this host cannot do
 */
export function applyDeviceChanges(
  hardware: Hardware,
  changes: VirtualDeviceConfigSpec[],
  context: HardwareContext,
): { hardware: Hardware; create: NewDisk[]; removedFiles: string[] } {
  const next = structuredClone(hardware);
  const create: NewDisk[] = [];
  const removedFiles: string[] = [];
  /** Keys of the request (often negative) and what they became. */
  const controllers = new Map(next.controllers.map((controller) => [controller.key, controller]));
  for (const [index, change] of changes.entries()) {
    const device = change.device as AnyDevice;
    const bad = (message: string): Error =>
      fault('InvalidDeviceSpec', `Device ${index} (${device.$type ?? 'unknown'}): ${message}`, {
        deviceIndex: index,
        property: 'device',
      });
    if (change.operation === 'remove') {
      if (isFixedDevice(device.key)) throw bad('every virtual machine has it: it cannot be removed');
      const file = removeDevice(next, device.key);
      if (file === undefined)
        throw fault('DeviceNotFound', `There is no device with key ${device.key}`, {
          deviceIndex: index,
          property: 'device',
        });
      if (change.fileOperation === 'destroy' && file !== null) removedFiles.push(file);
      continue;
    }
    if (change.operation !== 'add' && change.operation !== 'edit') throw bad('an operation is required');
    const editing = change.operation === 'edit';
    switch (device.$type) {
      case 'ParaVirtualSCSIController':
      case 'VirtualLsiLogicController':
      case 'VirtualLsiLogicSASController': {
        if (editing) break;
        const bus = device.busNumber ?? freeBus(next);
        if (!Number.isInteger(bus) || bus < 0 || bus >= MAX_CONTROLLERS)
          throw bad(`a virtual machine has SCSI controllers 0 to ${MAX_CONTROLLERS - 1}`);
        if (next.controllers.some((one) => one.bus === bus)) throw bad(`there is a SCSI controller ${bus} already`);
        const controller = { key: KEY.scsi + bus, bus, type: device.$type };
        next.controllers.push(controller);
        controllers.set(device.key, controller).set(controller.key, controller);
        break;
      }
      case 'VirtualDisk': {
        if (editing) throw bad('disks cannot be edited');
        const controller = controllers.get(device.controllerKey ?? 0);
        if (controller === undefined) throw bad('its controller does not exist');
        const unit =
          device.unitNumber !== undefined && device.unitNumber >= 0
            ? device.unitNumber
            : freeUnit(next, controller.bus);
        if (unit !== undefined && (unit >= MAX_UNITS || unit === CONTROLLER_UNIT))
          throw bad(`a disk cannot be unit ${unit} of a SCSI controller`);
        if (unit === undefined || next.disks.some((disk) => disk.bus === controller.bus && disk.unit === unit))
          throw bad('no free unit number');
        const backing = device.backing;
        if (
          backing?.$type !== 'VirtualDiskFlatVer2BackingInfo' &&
          backing?.$type !== 'VirtualDiskSparseVer2BackingInfo'
        )
          throw bad('its backing must be VirtualDiskFlatVer2BackingInfo');
        const named = String(backing.fileName ?? '');
        const file = /^\[[^\]]+\]\s*\S/.test(named) ? named : context.defaultDiskFile(next.disks.length);
        const mode = String(backing.diskMode ?? 'persistent');
        if (!DISK_MODES.has(mode)) throw bad(`there is no disk mode '${mode.slice(0, 80)}'`);
        const disk: Disk = {
          key: KEY.disk + controller.bus * 16 + unit,
          bus: controller.bus,
          unit,
          file,
          mode,
        };
        next.disks.push(disk);
        if (change.fileOperation === 'create') {
          const parent = (backing.parent as { fileName?: string } | undefined)?.fileName ?? null;
          create.push({ disk, parent, capacityBytes: device.capacityInBytes ?? (device.capacityInKB ?? 0) * 1024 });
        }
        break;
      }
      case 'VirtualVmxnet3':
      case 'VirtualE1000':
      case 'VirtualE1000e': {
        const portGroup = String(device.backing?.deviceName ?? '');
        if (!context.portGroups.has(portGroup))
          throw fault('InvalidDeviceBacking', `There is no port group '${portGroup}'`, {
            deviceIndex: index,
            property: 'backing',
          });
        const manualMac = device.addressType?.toLowerCase() === 'manual' && device.macAddress !== undefined;
        if (manualMac && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(device.macAddress!))
          throw bad(`'${device.macAddress}' is not a MAC address`);
        const existing = editing ? next.nics.find((nic) => nic.key === device.key) : undefined;
        if (editing && existing === undefined)
          throw fault('DeviceNotFound', `There is no device with key ${device.key}`, {
            deviceIndex: index,
            property: 'device',
          });
        const nic: Nic = {
          key: existing?.key ?? freeKey(next.nics, KEY.nic),
          type: device.$type,
          portGroup,
          mac: manualMac ? device.macAddress!.toLowerCase() : (existing?.mac ?? generateMac()),
          manualMac,
          connected: device.connectable?.startConnected ?? true,
        };
        if (existing !== undefined) Object.assign(existing, nic);
        else if (next.nics.length >= MAX_NICS) throw bad(`a virtual machine has at most ${MAX_NICS} cards`);
        else next.nics.push(nic);
        break;
      }
      case 'VirtualSerialPort': {
        const serial: Serial = {
          key: editing ? device.key : freeKey(next.serials, KEY.serial),
          backing: serialBacking(device.backing, bad),
        };
        if (editing) next.serials = next.serials.map((one) => (one.key === serial.key ? serial : one));
        else if (next.serials.length >= MAX_SERIALS)
          throw bad(`a virtual machine has at most ${MAX_SERIALS} serial ports`);
        else next.serials.push(serial);
        break;
      }
      default:
        throw fault(
          'DeviceUnsupportedForVmPlatform',
          `Devices of type ${device.$type ?? 'VirtualDevice'} are not supported by this host`,
          { deviceIndex: index, property: 'device' },
        );
    }
  }
  return { hardware: next, create, removedFiles };
}

function serialBacking(backing: AnyDevice['backing'], bad: (message: string) => Error): Serial['backing'] {
  if (backing?.$type === 'VirtualSerialPortFileBackingInfo') return { kind: 'file', file: String(backing.fileName) };
  if (backing?.$type !== 'VirtualSerialPortURIBackingInfo') throw bad('its backing must be a file or a URI');
  const serviceUri = String(backing.serviceURI);
  if (!serviceUri.startsWith('unix:///') || backing.direction !== 'client')
    throw bad("a URI backing must be of direction 'client' to 'unix:///path': this host's VMs have no other way out");
  if (Buffer.byteLength(serviceUri) > UNIX.length + MAX_SOCKET)
    throw bad(`the path of a socket has at most ${MAX_SOCKET} bytes`);
  return { kind: 'uri', serviceUri, direction: 'client' };
}

function removeDevice(hardware: Hardware, key: number): string | null | undefined {
  const disk = hardware.disks.find((one) => one.key === key);
  for (const list of [hardware.controllers, hardware.disks, hardware.nics, hardware.serials] as { key: number }[][]) {
    const index = list.findIndex((one) => one.key === key);
    if (index < 0) continue;
    list.splice(index, 1);
    return disk?.file ?? null;
  }
  return undefined;
}

function freeUnit(hardware: Hardware, bus: number): number | undefined {
  for (let unit = 0; unit < MAX_UNITS; unit++)
    if (unit !== CONTROLLER_UNIT && !hardware.disks.some((disk) => disk.bus === bus && disk.unit === unit)) return unit;
  return undefined;
}

function freeBus(hardware: Hardware): number {
  let bus = 0;
  while (hardware.controllers.some((one) => one.bus === bus)) bus++;
  return bus;
}

function freeKey(devices: { key: number }[], first: number): number {
  for (let key = first; ; key++) if (!devices.some((device) => device.key === key)) return key;
}

/** In VMware's range for generated addresses. */
function generateMac(): string {
  return `00:0c:29:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
}

/** The devices as .vmx settings. */
export function* vmxDevices(hardware: Hardware): Iterable<[string, string]> {
  for (const { bus, type } of hardware.controllers) {
    yield [`scsi${bus}.present`, 'TRUE'];
    yield [`scsi${bus}.virtualDev`, nameOf(CONTROLLERS, type)];
  }
  for (const { bus, unit, file, mode } of hardware.disks) {
    yield [`scsi${bus}:${unit}.present`, 'TRUE'];
    yield [`scsi${bus}:${unit}.deviceType`, 'scsi-hardDisk'];
    yield [`scsi${bus}:${unit}.fileName`, file];
    yield [`scsi${bus}:${unit}.mode`, mode];
  }
  for (const { key, type, portGroup, mac, manualMac, connected } of hardware.nics) {
    const name = `ethernet${key - KEY.nic}`;
    yield [`${name}.present`, 'TRUE'];
    yield [`${name}.virtualDev`, nameOf(NICS, type)];
    yield [`${name}.networkName`, portGroup];
    yield [`${name}.addressType`, manualMac ? 'static' : 'generated'];
    yield [`${name}.${manualMac ? 'address' : 'generatedAddress'}`, mac];
    yield [`${name}.startConnected`, connected ? 'TRUE' : 'FALSE'];
  }
  for (const { key, backing } of hardware.serials) {
    const name = `serial${key - KEY.serial}`;
    yield [`${name}.present`, 'TRUE'];
    yield [`${name}.fileType`, backing.kind === 'file' ? 'file' : 'pipe'];
    yield [`${name}.fileName`, backing.kind === 'file' ? backing.file : backing.serviceUri.slice(UNIX.length)];
    // A socket is a named pipe in these files; readers take a network port for a TCP one (libvirt: "doesn't contain a port part").
    if (backing.kind === 'uri') yield [`${name}.pipe.endPoint`, backing.direction];
  }
}

/** True for .vmx keys that belong to devices. */
export function isDeviceKey(key: string): boolean {
  return /^(scsi\d+(:\d+)?|ethernet\d+|serial\d+)\./.test(key);
}

/** Reads the devices back from .vmx settings. */
export function readVmxDevices(vmx: ReadonlyMap<string, string>): Hardware {
  const hardware = emptyHardware();
  const present = (name: string): boolean => vmx.get(`${name}.present`) === 'TRUE';
  for (const key of vmx.keys()) {
    const name = /^([^.]+)\.present$/.exec(key)?.[1];
    if (name === undefined || !present(name)) continue;
    const setting = (suffix: string): string => vmx.get(`${name}.${suffix}`) ?? '';
    const numbers = [...name.matchAll(/\d+/g)].map((match) => Number(match[0]));
    const [first = 0, second = 0] = numbers;
    if (/^scsi\d+$/.test(name)) {
      const type = CONTROLLERS.get(setting('virtualDev')) ?? 'ParaVirtualSCSIController';
      hardware.controllers.push({ key: KEY.scsi + first, bus: first, type });
    }
    if (/^scsi\d+:\d+$/.test(name))
      hardware.disks.push({
        key: KEY.disk + first * 16 + second,
        bus: first,
        unit: second,
        file: setting('fileName'),
        mode: setting('mode'),
      });
    if (/^ethernet\d+$/.test(name)) {
      const manualMac = setting('addressType') === 'static';
      hardware.nics.push({
        key: KEY.nic + first,
        type: NICS.get(setting('virtualDev')) ?? 'VirtualVmxnet3',
        portGroup: setting('networkName'),
        manualMac,
        mac: setting(manualMac ? 'address' : 'generatedAddress'),
        connected: setting('startConnected') !== 'FALSE',
      });
    }
    if (/^serial\d+$/.test(name)) {
      hardware.serials.push({ key: KEY.serial + first, backing: storedBacking(setting) });
    }
  }
  return hardware;
}

/** A serial port's backing. Ports of type `network` are in .vmx files that were written here earlier, with the URI as it is. */
function storedBacking(setting: (suffix: string) => string): Serial['backing'] {
  const file = setting('fileName');
  switch (setting('fileType')) {
    case 'file':
      return { kind: 'file', file };
    case 'pipe':
      return { kind: 'uri', serviceUri: `${UNIX}${file}`, direction: setting('pipe.endPoint') };
    default:
      return { kind: 'uri', serviceUri: file, direction: setting('network.endPoint') };
  }
}
