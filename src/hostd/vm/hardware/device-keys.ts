/** Device keys and PCI units, numbered as vSphere numbers them. */

/** The key of the first device of each kind. */
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

/** The key of the disk at a place, so that a disk that is removed and added again keeps its key. */
export function diskKey(bus: number, unit: number): number {
  return KEY.disk + bus * 16 + unit;
}

/** PCI units: SCSI controllers from 3 on, network cards from 7 on. */
export const PCI_UNIT = { scsi: 3, nic: 7 };

/** The first key from `first` on that no device has. */
export function freeKey(devices: readonly { key: number }[], first: number): number {
  for (let key = first; ; key++) if (!devices.some((device) => device.key === key)) return key;
}
