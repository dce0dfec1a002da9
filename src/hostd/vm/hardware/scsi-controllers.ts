/** SCSI controllers. */
import { KEY, PCI_UNIT } from './device-keys.js';
import { type DeviceKind, label } from './device-kind.js';
import { DeviceTypes } from './device-types.js';
import type { Controller, Hardware } from './hardware.js';

const MAX_CONTROLLERS = 4;
/** The unit that the controller itself has on its bus. */
export const CONTROLLER_UNIT = 7;

const TYPES = new DeviceTypes(
  new Map([
    ['pvscsi', 'ParaVirtualSCSIController'],
    ['lsilogic', 'VirtualLsiLogicController'],
    ['lsisas1068', 'VirtualLsiLogicSASController'],
  ]),
);

export const scsiControllers: DeviceKind<Controller> = {
  types: TYPES.all(),

  of: (hardware) => hardware.controllers,

  add({ device, hardware, controllers, bad }) {
    const bus = device.busNumber ?? freeBus(hardware);
    if (!Number.isInteger(bus) || bus < 0 || bus >= MAX_CONTROLLERS)
      throw bad(`a virtual machine has SCSI controllers 0 to ${MAX_CONTROLLERS - 1}`);
    if (hardware.controllers.some((one) => one.bus === bus)) throw bad(`there is a SCSI controller ${bus} already`);
    const controller = { key: KEY.scsi + bus, bus, type: device.$type! };
    hardware.controllers.push(controller);
    controllers.set(device.key, controller).set(controller.key, controller);
  },

  // Clients send controllers along with the disks they change; a controller has nothing that could be changed.
  edit() {},

  show: ({ key, bus, type }, _index, hardware) => ({
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
  }),

  section: /^scsi\d+$/,

  *settings({ bus, type }) {
    yield [`scsi${bus}.present`, 'TRUE'];
    yield [`scsi${bus}.virtualDev`, TYPES.toVmx(type)];
  },

  read: ({ numbers: [bus], setting }) => ({ key: KEY.scsi + bus, bus, type: TYPES.fromVmx(setting('virtualDev')) }),
};

function freeBus(hardware: Hardware): number {
  let bus = 0;
  while (hardware.controllers.some((one) => one.bus === bus)) bus++;
  return bus;
}
