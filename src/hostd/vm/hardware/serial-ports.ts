/** Serial ports, connected to a file or a unix socket. */
import { freeKey, KEY } from './device-keys.js';
import { type DeviceChange, type DeviceKind, label, type VmxSection } from './device-kind.js';
import type { Serial } from './hardware.js';

const MAX_SERIALS = 32;
/** How a socket's URI begins. */
const UNIX = 'unix://';
/** Longest path of a socket, in bytes: connect(2) takes no more. */
const MAX_SOCKET = 107;

export const serialPorts: DeviceKind<Serial> = {
  types: ['VirtualSerialPort'],

  of: (hardware) => hardware.serials,

  add(change) {
    const { serials } = change.hardware;
    const serial = { key: freeKey(serials, KEY.serial), backing: requestedBacking(change) };
    if (serials.length >= MAX_SERIALS) throw change.bad(`a virtual machine has at most ${MAX_SERIALS} serial ports`);
    serials.push(serial);
  },

  edit(change) {
    const { device, hardware } = change;
    const serial = { key: device.key, backing: requestedBacking(change) };
    hardware.serials = hardware.serials.map((one) => (one.key === serial.key ? serial : one));
  },

  show: ({ key, backing }, index, _hardware, around) => ({
    $type: 'VirtualSerialPort',
    key,
    deviceInfo: label(`Serial port ${index + 1}`),
    backing:
      backing.kind === 'file'
        ? {
            $type: 'VirtualSerialPortFileBackingInfo',
            fileName: backing.file,
            datastore: around.datastoreOf(backing.file),
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
  }),

  section: /^serial\d+$/,

  *settings({ key, backing }) {
    const name = `serial${key - KEY.serial}`;
    yield [`${name}.present`, 'TRUE'];
    yield [`${name}.fileType`, backing.kind === 'file' ? 'file' : 'pipe'];
    yield [`${name}.fileName`, backing.kind === 'file' ? backing.file : socketOf(backing.serviceUri)];
    // A .vmx file calls a socket a named pipe; readers take a network port for TCP (libvirt: "doesn't contain a port part").
    if (backing.kind === 'uri') yield [`${name}.pipe.endPoint`, backing.direction];
  },

  read: ({ numbers: [number], setting }) => ({ key: KEY.serial + number, backing: storedBacking(setting) }),
};

/** The path of the socket that a URI names. */
export function socketOf(serviceUri: string): string {
  return serviceUri.slice(UNIX.length);
}

function requestedBacking({ device: { backing }, bad }: DeviceChange): Serial['backing'] {
  if (backing?.$type === 'VirtualSerialPortFileBackingInfo') return { kind: 'file', file: String(backing.fileName) };
  if (backing?.$type !== 'VirtualSerialPortURIBackingInfo') throw bad('its backing must be a file or a URI');
  const serviceUri = String(backing.serviceURI);
  if (!serviceUri.startsWith('unix:///') || backing.direction !== 'client')
    throw bad("a URI backing must be of direction 'client' to 'unix:///path': this host's VMs have no other way out");
  if (Buffer.byteLength(serviceUri) > UNIX.length + MAX_SOCKET)
    throw bad(`the path of a socket has at most ${MAX_SOCKET} bytes`);
  return { kind: 'uri', serviceUri, direction: 'client' };
}

/** Reads a backing from a .vmx file. Earlier versions wrote ports of type `network`, with the URI unchanged. */
function storedBacking(setting: VmxSection['setting']): Serial['backing'] {
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
