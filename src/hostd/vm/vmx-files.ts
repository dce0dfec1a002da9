/**
 * File names in a .vmx. VMware writes just the name of a file beside the .vmx, and for others the path below the datastore's mount point.
 * Readers of these files reject the API's form, `[datastore] path` (libvirt: "Could not handle file name").
 */
import { fromMountedFile, toMountedFile } from '../datastore/datastore-paths.js';
import type { Hardware } from './hardware/hardware.js';

/** The name in a .vmx. @param file a datastore path @param directory the datastore path of the .vmx's directory */
export function toVmxFile(file: string, directory: string): string {
  const name = file.slice(directory.length + 1);
  if (file === `${directory}/${name}` && name !== '' && !name.includes('/')) return name;
  return toMountedFile(file) ?? file;
}

/** The datastore path of a name in a .vmx. A datastore path stays as it is, since earlier versions wrote those. */
export function fromVmxFile(name: string, directory: string): string {
  const mounted = fromMountedFile(name);
  if (mounted !== undefined) return mounted;
  if (name === '' || name.startsWith('[') || name.startsWith('/')) return name;
  return directory.endsWith('] ') ? `${directory}${name}` : `${directory}/${name}`;
}

/** The hardware with its file names in another form. */
export function withFiles(hardware: Hardware, change: (file: string) => string): Hardware {
  return {
    ...hardware,
    disks: hardware.disks.map((disk) => ({ ...disk, file: change(disk.file) })),
    serials: hardware.serials.map((serial) =>
      serial.backing.kind === 'file'
        ? { ...serial, backing: { kind: 'file', file: change(serial.backing.file) } }
        : serial,
    ),
  };
}
