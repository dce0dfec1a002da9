/** The devices that every VM has and nobody adds: buses, keyboard, mouse, video card, with the keys vSphere gives them. */

import { constant } from '../../vim25/codec.js';

/** Device keys as vSphere numbers them. */
export const KEY = {
  pci: 100,
  ide: 200,
  ps2: 300,
  sio: 400,
  video: 500,
  keyboard: 600,
  pointing: 700,
  scsi: 1000,
  disk: 2000,
  nic: 4000,
  serial: 9000,
};

/** PCI units: SCSI controllers from 3 on, network cards from 7 on. */
export const PCI_UNIT = { scsi: 3, nic: 7 };

const FIXED = new Set([KEY.pci, KEY.ide, KEY.ide + 1, KEY.ps2, KEY.sio, KEY.video, KEY.keyboard, KEY.pointing]);

/** True for the key of a device that cannot be removed. */
export function isFixedDevice(key: number): boolean {
  return FIXED.has(key);
}

/** Sets of fixed devices by the keys in them: they differ in what is on the buses only, and that is alike in most VMs. */
const known = new Map<string, readonly object[]>();
const MAX_KNOWN = 500;

/**
 * The fixed devices as vim25 has them. They are made and encoded once for all VMs with the same keys: half of what a VM's hardware is on
 * the wire would be made anew at each look.
 * @param pci keys of the devices on the PCI bus @param serial those of the serial ports
 */
export function fixedDevices(pci: number[], serial: number[]): readonly object[] {
  const key = `${pci.join()} ${serial.join()}`;
  let devices = known.get(key);
  if (devices === undefined) {
    devices = make(pci, serial).map(constant);
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(key, devices);
  }
  return devices;
}

function make(pci: number[], serial: number[]): object[] {
  const controller = (type: string, key: number, busNumber: number, label: string, device: number[]): object => ({
    $type: type,
    key,
    deviceInfo: { label, summary: label },
    busNumber,
    ...(device.length === 0 ? {} : { device }),
  });
  const input = (type: string, key: number, unitNumber: number, label: string, summary: string): object => ({
    $type: type,
    key,
    deviceInfo: { label, summary },
    controllerKey: KEY.ps2,
    unitNumber,
  });
  return [
    controller('VirtualIDEController', KEY.ide, 0, 'IDE 0', []),
    controller('VirtualIDEController', KEY.ide + 1, 1, 'IDE 1', []),
    controller('VirtualPS2Controller', KEY.ps2, 0, 'PS2 controller 0', [KEY.keyboard, KEY.pointing]),
    controller('VirtualPCIController', KEY.pci, 0, 'PCI controller 0', [KEY.video, ...pci]),
    controller('VirtualSIOController', KEY.sio, 0, 'SIO controller 0', serial),
    input('VirtualKeyboard', KEY.keyboard, 0, 'Keyboard', 'Keyboard'),
    {
      ...input('VirtualPointingDevice', KEY.pointing, 1, 'Pointing device', 'Pointing device; Device'),
      backing: {
        $type: 'VirtualPointingDeviceDeviceBackingInfo',
        deviceName: '',
        useAutoDetect: false,
        hostPointingDevice: 'autodetect',
      },
    },
    {
      $type: 'VirtualMachineVideoCard',
      key: KEY.video,
      deviceInfo: { label: 'Video card', summary: 'Video card' },
      controllerKey: KEY.pci,
      unitNumber: 0,
      videoRamSizeInKB: 4096,
      numDisplays: 1,
      useAutoDetect: false,
      enable3DSupport: false,
      use3dRenderer: 'automatic',
      graphicsMemorySizeInKB: 262144,
    },
  ];
}
