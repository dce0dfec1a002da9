/** A VM's hardware as hostd keeps it: plain data, one list for each kind of device. */

/** A SCSI controller. */
export interface Controller {
  key: number;
  bus: number;
  /** Its type in vim25. */
  type: string;
}

/** A virtual disk. */
export interface Disk {
  key: number;
  bus: number;
  unit: number;
  /** Datastore path. */
  file: string;
  mode: string;
}

/** A network card. */
export interface Nic {
  key: number;
  /** Its type in vim25. */
  type: string;
  portGroup: string;
  mac: string;
  manualMac: boolean;
  connected: boolean;
}

/** A serial port. */
export interface Serial {
  key: number;
  backing: { kind: 'file'; file: string } | { kind: 'uri'; serviceUri: string; direction: string; proxyUri?: string };
}

/** All devices that a VM here can have. */
export interface Hardware {
  controllers: Controller[];
  disks: Disk[];
  nics: Nic[];
  serials: Serial[];
}

export function emptyHardware(): Hardware {
  return { controllers: [], disks: [], nics: [], serials: [] };
}
