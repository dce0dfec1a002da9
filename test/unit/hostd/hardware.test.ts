/** Device changes, and the devices' part of a .vmx file, for each kind of device. */
import { describe, expect, it } from 'vitest';
import { applyDeviceChanges, isDeviceKey, readVmxDevices, vmxDevices } from '../../../src/hostd/vm/hardware/devices.js';
import { emptyHardware, type Hardware } from '../../../src/hostd/vm/hardware/hardware.js';
import type { VirtualDeviceConfigSpec } from '../../../src/vim25/index.js';

const context = {
  portGroups: new Set(['VM Network']),
  defaultDiskFile: (index: number) => `[datastore1] vm/vm_${index}.vmdk`,
  maxCards: 2,
};
const add = (device: object, fileOperation?: string): VirtualDeviceConfigSpec =>
  ({ operation: 'add', fileOperation, device }) as unknown as VirtualDeviceConfigSpec;
const remove = (key: number, fileOperation?: string): VirtualDeviceConfigSpec =>
  ({ operation: 'remove', fileOperation, device: { key } }) as unknown as VirtualDeviceConfigSpec;

const controller = { $type: 'VirtualLsiLogicController', key: -1, busNumber: 1 };
const disk = {
  $type: 'VirtualDisk',
  key: -2,
  controllerKey: -1,
  capacityInKB: 2048,
  backing: { $type: 'VirtualDiskFlatVer2BackingInfo', fileName: '[datastore1]', diskMode: 'independent_persistent' },
};
const card = {
  $type: 'VirtualE1000e',
  key: -3,
  addressType: 'Manual',
  macAddress: '00:50:56:AA:BB:CC',
  backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: 'VM Network' },
};
const output = {
  $type: 'VirtualSerialPort',
  key: -4,
  backing: { $type: 'VirtualSerialPortFileBackingInfo', fileName: '[datastore1] vm/output.log' },
};
const channel = {
  $type: 'VirtualSerialPort',
  key: -5,
  backing: { $type: 'VirtualSerialPortURIBackingInfo', serviceURI: 'unix:///run/a', direction: 'client' },
};

const HARDWARE: Hardware = {
  controllers: [{ key: 1001, bus: 1, type: 'VirtualLsiLogicController' }],
  disks: [{ key: 2016, bus: 1, unit: 0, file: '[datastore1] vm/vm_0.vmdk', mode: 'independent_persistent' }],
  nics: [
    {
      key: 4000,
      type: 'VirtualE1000e',
      portGroup: 'VM Network',
      mac: '00:50:56:aa:bb:cc',
      manualMac: true,
      connected: true,
    },
  ],
  serials: [
    { key: 9000, backing: { kind: 'file', file: '[datastore1] vm/output.log' } },
    { key: 9001, backing: { kind: 'uri', serviceUri: 'unix:///run/a', direction: 'client' } },
  ],
};

describe('device changes', () => {
  it('add a device of each kind, with the keys that vSphere gives them', () => {
    const changes = [add(controller), add(disk, 'create'), add(card), add(output), add(channel)];
    const { hardware, create, removedFiles } = applyDeviceChanges(emptyHardware(), changes, context);
    expect(hardware).toEqual(HARDWARE);
    expect(create).toEqual([{ disk: HARDWARE.disks[0], parent: null, capacityBytes: 2 << 20 }]);
    expect(removedFiles).toEqual([]);
  });

  it('remove devices by key, and do not modify the earlier hardware', () => {
    const before = structuredClone(HARDWARE);
    const { hardware, removedFiles } = applyDeviceChanges(
      before,
      [remove(9001), remove(2016, 'destroy'), remove(4000)],
      context,
    );
    expect(hardware).toEqual({ ...HARDWARE, disks: [], nics: [], serials: [HARDWARE.serials[0]] });
    expect(removedFiles).toEqual(['[datastore1] vm/vm_0.vmdk']);
    expect(before).toEqual(HARDWARE);
  });

  it.each([
    ['a fixed device', remove(100), 'InvalidDeviceSpec'],
    ['a key that nothing has', remove(2000), 'DeviceNotFound'],
    ['a disk without controller', add(disk), 'InvalidDeviceSpec'],
    ['a fifth controller', add({ ...controller, busNumber: 4 }), 'InvalidDeviceSpec'],
    ['a MAC address that is none', add({ ...card, macAddress: 'x' }), 'InvalidDeviceSpec'],
    ['an unknown port group', add({ ...card, backing: { deviceName: 'other' } }), 'InvalidDeviceBacking'],
    ['a serial port to a device', add({ ...output, backing: {} }), 'InvalidDeviceSpec'],
    ['another kind of device', add({ $type: 'VirtualUSB', key: -1 }), 'DeviceUnsupportedForVmPlatform'],
    ['an edited disk', { ...add(disk), operation: 'edit' } as VirtualDeviceConfigSpec, 'InvalidDeviceSpec'],
    ['no operation', { device: disk } as unknown as VirtualDeviceConfigSpec, 'InvalidDeviceSpec'],
  ])('are refused for %s', (_what, change, type) => {
    const fault = expect.objectContaining({ $type: type, deviceIndex: 0 }) as unknown;
    expect(() => applyDeviceChanges(emptyHardware(), [change], context)).toThrow(
      expect.objectContaining({ fault }) as Error,
    );
  });
});

describe('the devices in a .vmx file', () => {
  it('are read back as written', () => {
    const settings = new Map(vmxDevices(HARDWARE));
    expect([...settings.keys()].every(isDeviceKey)).toBe(true);
    expect(readVmxDevices(settings)).toEqual(HARDWARE);
  });

  it('are read from files of earlier versions, which wrote sockets as network ports', () => {
    const settings = {
      'serial0.present': 'TRUE',
      'serial0.fileType': 'network',
      'serial0.fileName': 'unix:///run/a',
      'serial0.network.endPoint': 'client',
      'ethernet0.present': 'FALSE',
    };
    expect(readVmxDevices(new Map(Object.entries(settings)))).toEqual({
      ...emptyHardware(),
      serials: [{ key: 9000, backing: { kind: 'uri', serviceUri: 'unix:///run/a', direction: 'client' } }],
    });
  });

  it.each([
    ['scsi0.virtualDev', true],
    ['scsi0:1.mode', true],
    ['guestinfo.scsi0.mode', false],
    ['ethernet0', false],
    ['serialized.present', false],
  ])('have their own keys: %s', (key, is) => {
    expect(isDeviceKey(key)).toBe(is);
  });
});
