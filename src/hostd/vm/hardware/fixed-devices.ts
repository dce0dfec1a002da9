/** The devices that every VM has from the start: buses, keyboard, mouse and video card, with the keys that vSphere gives them. */
import { constant } from '../../../vim25/server.js';
import { KEY } from './device-keys.js';

const FIXED = new Set([KEY.pci, KEY.ide, KEY.ide + 1, KEY.ps2, KEY.sio, KEY.video, KEY.keyboard, KEY.pointing]);

/** True for the key of a device that cannot be removed. */
export function isFixedDevice(key: number): boolean {
  return FIXED.has(key);
}

/** Fixed devices by the keys on their buses. They differ in nothing else, and most VMs have the same keys. */
const known = new Map<string, readonly object[]>();
const MAX_KNOWN = 500;

/**
 * The fixed devices as vim25 has them. They make up half of a VM's hardware on the wire, so they are built and encoded only once for all
 * VMs with the same keys.
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
