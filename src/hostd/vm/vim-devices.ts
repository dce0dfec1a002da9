/** A VM's devices as vim25 has them. */
import type { ManagedObjectReference } from '../../vim25/types.generated.js';
import type { DiskFacts } from './disk-facts.js';
import { fixedDevices, KEY, PCI_UNIT } from './fixed-devices.js';
import { CONTROLLER_UNIT, type Disk, type Hardware } from './hardware.js';

/** What is known of the devices besides the VM's own hardware. */
export interface DeviceSurroundings {
  datastore: ManagedObjectReference;
  /** A port group's network. */
  networkOf(portGroup: string): ManagedObjectReference | undefined;
  /** A disk by its datastore path; `parent` is a datastore path. */
  disk(file: string): DiskFacts | null;
  /** Whether the VM runs: nothing is connected in one that does not. */
  on: boolean;
}

/** As many files as a chain may have. */
const MAX_CHAIN = 256;

/** Made once: that takes longer than all else about a device. */
const THOUSANDS = new Intl.NumberFormat('en-US');

const label = (name: string, summary = name): object => ({ label: name, summary });

/** All devices, those that every VM has first. */
export function vimDevices(hardware: Hardware, around: DeviceSurroundings): object[] {
  const pci = [...hardware.controllers, ...hardware.nics].map(({ key }) => key);
  return [
    ...fixedDevices(
      pci,
      hardware.serials.map(({ key }) => key),
    ),
    ...hardware.controllers.map(({ key, bus, type }) => ({
      $type: type,
      key,
      deviceInfo: label(`SCSI controller ${bus}`),
      controllerKey: KEY.pci,
      unitNumber: PCI_UNIT.scsi + bus,
      busNumber: bus,
      device: hardware.disks.filter((disk) => disk.bus === bus).map((disk) => disk.key),
      hotAddRemove: true,
      sharedBus: 'noSharing',
      scsiCtlrUnitNumber: CONTROLLER_UNIT,
    })),
    ...hardware.disks.map((disk, index) => vimDisk(disk, index, around)),
    ...hardware.nics.map(({ key, type, portGroup, mac, manualMac, connected }, index) => ({
      $type: type,
      key,
      deviceInfo: label(`Network adapter ${index + 1}`, portGroup),
      backing: {
        $type: 'VirtualEthernetCardNetworkBackingInfo',
        deviceName: portGroup,
        useAutoDetect: false,
        network: around.networkOf(portGroup),
      },
      connectable: {
        startConnected: connected,
        allowGuestControl: true,
        connected: connected && around.on,
        status: connected && around.on ? 'ok' : 'untried',
      },
      controllerKey: KEY.pci,
      unitNumber: PCI_UNIT.nic + key - KEY.nic,
      addressType: manualMac ? 'manual' : 'generated',
      macAddress: mac,
      wakeOnLanEnabled: false,
    })),
    ...hardware.serials.map(({ key, backing }, index) => ({
      $type: 'VirtualSerialPort',
      key,
      deviceInfo: label(`Serial port ${index + 1}`),
      backing:
        backing.kind === 'file'
          ? {
              $type: 'VirtualSerialPortFileBackingInfo',
              fileName: backing.file,
              datastore: around.datastore,
            }
          : { $type: 'VirtualSerialPortURIBackingInfo', serviceURI: backing.serviceUri, direction: backing.direction },
      connectable: {
        startConnected: true,
        allowGuestControl: true,
        connected: around.on,
        status: around.on ? 'ok' : 'untried',
      },
      controllerKey: KEY.sio,
      unitNumber: key - KEY.serial,
      yieldOnPoll: true,
    })),
  ];
}

function vimDisk({ key, bus, unit, file, mode }: Disk, index: number, around: DeviceSurroundings): object {
  const facts = around.disk(file);
  const capacityInBytes = facts?.capacityBytes ?? 0;
  return {
    $type: 'VirtualDisk',
    key,
    deviceInfo: label(`Hard disk ${index + 1}`, `${THOUSANDS.format(capacityInBytes / 1024)} KB`),
    backing: diskBacking(file, facts, mode, around, 0),
    controllerKey: KEY.scsi + bus,
    unitNumber: unit,
    capacityInKB: Math.floor(capacityInBytes / 1024),
    capacityInBytes,
    nativeUnmanagedLinkedClone: false,
  };
}

/** A file of a disk with the chain of its parents. */
function diskBacking(
  file: string,
  facts: DiskFacts | null,
  mode: string,
  around: DeviceSurroundings,
  depth: number,
): object {
  return {
    $type: 'VirtualDiskFlatVer2BackingInfo',
    fileName: file,
    datastore: around.datastore,
    diskMode: mode,
    split: false,
    writeThrough: false,
    thinProvisioned: true,
    ...(facts === null ? {} : { uuid: facts.uuid, contentId: facts.contentId }),
    ...(facts === null || facts.parent === null || depth >= MAX_CHAIN
      ? {}
      : { parent: diskBacking(facts.parent, around.disk(facts.parent), mode, around, depth + 1) }),
    digestEnabled: false,
    sharing: 'sharingNone',
  };
}
