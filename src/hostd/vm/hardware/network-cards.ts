/** Network cards. */
import { randomBytes } from 'node:crypto';
import { freeKey, KEY, PCI_UNIT } from './device-keys.js';
import { type DeviceChange, type DeviceKind, label } from './device-kind.js';
import { DeviceTypes } from './device-types.js';
import type { Nic } from './hardware.js';

const TYPES = new DeviceTypes(
  new Map([
    ['vmxnet3', 'VirtualVmxnet3'],
    ['e1000', 'VirtualE1000'],
    ['e1000e', 'VirtualE1000e'],
  ]),
);

export const networkCards: DeviceKind<Nic> = {
  types: TYPES.all(),

  of: (hardware) => hardware.nics,

  add(change) {
    const { nics } = change.hardware;
    const { maxCards } = change.context;
    const nic = requested(change, undefined);
    if (nics.length >= maxCards) throw change.bad(`this virtual machine has at most ${maxCards} cards`);
    nics.push(nic);
  },

  edit(change) {
    const { device, hardware } = change;
    const existing = hardware.nics.find((nic) => nic.key === device.key);
    const nic = requested(change, existing);
    if (existing === undefined)
      throw change.fault('DeviceNotFound', `There is no device with key ${device.key}`, 'device');
    Object.assign(existing, nic);
  },

  show: ({ key, type, portGroup, mac, manualMac, connected }, index, _hardware, around) => ({
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
  }),

  section: /^ethernet\d+$/,

  *settings({ key, type, portGroup, mac, manualMac, connected }) {
    const name = `ethernet${key - KEY.nic}`;
    yield [`${name}.present`, 'TRUE'];
    yield [`${name}.virtualDev`, TYPES.toVmx(type)];
    yield [`${name}.networkName`, portGroup];
    yield [`${name}.addressType`, manualMac ? 'static' : 'generated'];
    yield [`${name}.${manualMac ? 'address' : 'generatedAddress'}`, mac];
    yield [`${name}.startConnected`, connected ? 'TRUE' : 'FALSE'];
  },

  read({ numbers: [number], setting }) {
    const manualMac = setting('addressType') === 'static';
    return {
      key: KEY.nic + number,
      type: TYPES.fromVmx(setting('virtualDev')),
      portGroup: setting('networkName'),
      manualMac,
      mac: setting(manualMac ? 'address' : 'generatedAddress'),
      connected: setting('startConnected') !== 'FALSE',
    };
  },
};

/** The card that a request describes. @param existing the card that it changes, which keeps its key and generated address */
function requested(change: DeviceChange, existing: Nic | undefined): Nic {
  const { device, hardware, context } = change;
  const portGroup = String(device.backing?.deviceName ?? '');
  if (!context.portGroups.has(portGroup))
    throw change.fault('InvalidDeviceBacking', `There is no port group '${portGroup}'`, 'backing');
  const manualMac = device.addressType?.toLowerCase() === 'manual' && device.macAddress !== undefined;
  if (manualMac && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(device.macAddress!))
    throw change.bad(`'${device.macAddress}' is not a MAC address`);
  return {
    key: existing?.key ?? freeKey(hardware.nics, KEY.nic),
    type: device.$type!,
    portGroup,
    mac: manualMac ? device.macAddress!.toLowerCase() : (existing?.mac ?? generateMac()),
    manualMac,
    connected: device.connectable?.startConnected ?? true,
  };
}

/** A random address in VMware's range for generated ones. */
function generateMac(): string {
  return `00:0c:29:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
}
