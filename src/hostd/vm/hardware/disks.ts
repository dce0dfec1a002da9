/** Virtual disks. */
import type { DiskFacts } from '../disk-facts.js';
import { diskKey, KEY } from './device-keys.js';
import { type DeviceKind, type DeviceSurroundings, label } from './device-kind.js';
import type { Disk, Hardware } from './hardware.js';
import { CONTROLLER_UNIT } from './scsi-controllers.js';

const MAX_UNITS = 16;
/** How many files a chain may have. */
const MAX_CHAIN = 256;
const MODES = new Set([
  'persistent',
  'nonpersistent',
  'undoable',
  'append',
  'independent_persistent',
  'independent_nonpersistent',
]);
const BACKINGS = new Set(['VirtualDiskFlatVer2BackingInfo', 'VirtualDiskSparseVer2BackingInfo']);

/** Made only once: making it takes longer than showing the rest of a disk. */
const THOUSANDS = new Intl.NumberFormat('en-US');

export const disks: DeviceKind<Disk> = {
  types: ['VirtualDisk'],

  of: (hardware) => hardware.disks,

  add({ device, fileOperation, hardware, controllers, create, context, bad }) {
    const controller = controllers.get(device.controllerKey ?? 0);
    if (controller === undefined) throw bad('its controller does not exist');
    const { bus } = controller;
    const unit =
      device.unitNumber !== undefined && device.unitNumber >= 0 ? device.unitNumber : freeUnit(hardware, bus);
    if (unit !== undefined && (unit >= MAX_UNITS || unit === CONTROLLER_UNIT))
      throw bad(`a disk cannot be unit ${unit} of a SCSI controller`);
    if (unit === undefined || hardware.disks.some((disk) => disk.bus === bus && disk.unit === unit))
      throw bad('no free unit number');
    const { backing } = device;
    if (backing === undefined || !BACKINGS.has(backing.$type ?? ''))
      throw bad('its backing must be VirtualDiskFlatVer2BackingInfo');
    const named = String(backing.fileName ?? '');
    const file = /^\[[^\]]+\]\s*\S/.test(named) ? named : context.defaultDiskFile(hardware.disks.length);
    const mode = String(backing.diskMode ?? 'persistent');
    if (!MODES.has(mode)) throw bad(`there is no disk mode '${mode.slice(0, 80)}'`);
    const disk: Disk = { key: diskKey(bus, unit), bus, unit, file, mode };
    hardware.disks.push(disk);
    if (fileOperation !== 'create') return;
    const parent = (backing.parent as { fileName?: string } | undefined)?.fileName ?? null;
    create.push({ disk, parent, capacityBytes: device.capacityInBytes ?? (device.capacityInKB ?? 0) * 1024 });
  },

  edit({ bad }) {
    throw bad('disks cannot be edited');
  },

  show({ key, bus, unit, file, mode }, index, _hardware, around) {
    const facts = around.disk(file);
    const capacityInBytes = facts?.capacityBytes ?? 0;
    return {
      $type: 'VirtualDisk',
      key,
      deviceInfo: label(`Hard disk ${index + 1}`, `${THOUSANDS.format(capacityInBytes / 1024)} KB`),
      backing: showBacking(file, facts, mode, around, 0),
      controllerKey: KEY.scsi + bus,
      unitNumber: unit,
      capacityInKB: Math.floor(capacityInBytes / 1024),
      capacityInBytes,
      nativeUnmanagedLinkedClone: false,
    };
  },

  section: /^scsi\d+:\d+$/,

  *settings({ bus, unit, file, mode }) {
    yield [`scsi${bus}:${unit}.present`, 'TRUE'];
    yield [`scsi${bus}:${unit}.deviceType`, 'scsi-hardDisk'];
    yield [`scsi${bus}:${unit}.fileName`, file];
    yield [`scsi${bus}:${unit}.mode`, mode];
  },

  read: ({ numbers: [bus, unit], setting }) => ({
    key: diskKey(bus, unit),
    bus,
    unit,
    file: setting('fileName'),
    mode: setting('mode'),
  }),
};

function freeUnit(hardware: Hardware, bus: number): number | undefined {
  for (let unit = 0; unit < MAX_UNITS; unit++)
    if (unit !== CONTROLLER_UNIT && !hardware.disks.some((disk) => disk.bus === bus && disk.unit === unit)) return unit;
  return undefined;
}

/** A disk's file with the chain of its parents. */
function showBacking(
  file: string,
  facts: DiskFacts | null,
  mode: string,
  around: DeviceSurroundings,
  depth: number,
): object {
  return {
    $type: 'VirtualDiskFlatVer2BackingInfo',
    fileName: file,
    datastore: around.datastoreOf(file),
    diskMode: mode,
    split: false,
    writeThrough: false,
    thinProvisioned: true,
    ...(facts === null ? {} : { uuid: facts.uuid, contentId: facts.contentId }),
    ...(facts === null || facts.parent === null || depth >= MAX_CHAIN
      ? {}
      : { parent: showBacking(facts.parent, around.disk(facts.parent), mode, around, depth + 1) }),
    digestEnabled: false,
    sharing: 'sharingNone',
  };
}
