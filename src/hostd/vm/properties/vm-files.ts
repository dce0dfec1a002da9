/** A VM's files as vim25 lists them, and the space they take. */

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DatastorePaths } from '../../datastore/datastore-paths.js';
import { datastoreRef } from '../../references.js';
import { diskFacts } from '../disk-facts.js';
import type { VmConfig } from '../vm-config.js';
import type { VmView } from './vm-view.js';

interface VmFile {
  key: number;
  name: string;
  type: string;
  /** Bytes. */
  size: number;
  /** Bytes on the datastore; less than `size` if the file has holes. */
  used: number;
}

const TYPES: [RegExp, string][] = [
  [/\.vmx$/, 'config'],
  [/\.vmdk$/, 'diskExtent'],
  [/\.log$/, 'log'],
];

/** The files in the VM's own directory. */
function filesOf(vm: VmView): VmFile[] {
  const files: VmFile[] = [];
  let names: string[] = [];
  try {
    names = readdirSync(vm.directory).sort();
  } catch {
    // The VM is being removed.
  }
  for (const name of names) {
    const path = join(vm.directory, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined || !stat.isFile()) continue;
    const type = TYPES.find(([pattern]) => pattern.test(name))?.[1];
    if (type === undefined) continue;
    files.push({
      key: files.length,
      name: vm.host.files.pathOf(path),
      type,
      size: stat.size,
      used: stat.blocks * 512,
    });
  }
  return files;
}

/** Names of the datastores that a machine has files on: its own first. */
export function datastoresOf(
  { directory, config }: { directory: string; config: Pick<VmConfig, 'hardware'> },
  files: DatastorePaths,
): string[] {
  const disks = config.hardware.disks.flatMap(({ file }) => /^\[([^\]]+)\]/.exec(file)?.[1] ?? []);
  return [...new Set([files.placeOf(directory).name, ...disks])].filter((name) => files.named(name) !== undefined);
}

function used(vm: VmView): { committed: number; uncommitted: number; unshared: number } {
  const committed = filesOf(vm).reduce((sum, file) => sum + file.used, 0);
  const { files: datastore } = vm.host;
  const own = vm.config.hardware.disks
    .map(({ file }) => datastore.resolve(file))
    .filter((path) => path.startsWith(`${vm.directory}/`));
  const capacity = own.reduce((sum, path) => sum + (diskFacts(path)?.capacityBytes ?? 0), 0);
  return { committed, uncommitted: Math.max(0, capacity - committed), unshared: committed };
}

/** VirtualMachineStorageSummary. */
export function storageSummary(vm: VmView): object {
  return { ...used(vm), timestamp: new Date() };
}

/** VirtualMachineStorageInfo. */
export function storageInfo(vm: VmView): object {
  return {
    perDatastoreUsage: [{ datastore: datastoreRef(vm.host.files.placeOf(vm.directory).name), ...used(vm) }],
    timestamp: new Date(),
  };
}

/** The files of each disk, base first; those of images are elsewhere. */
function chains(vm: VmView): { key: number; files: string[] }[] {
  const { files: datastore } = vm.host;
  return vm.config.hardware.disks.map(({ key, file }) => {
    const files: string[] = [];
    for (let at: string | null = datastore.resolve(file); at !== null && files.length < 256; ) {
      // The guest may have written what a disk says about its parents, so only files that the caller may read are shown.
      if (!datastore.has(at) || !vm.host.fileAccess.mayRead(at)) break;
      files.unshift(datastore.pathOf(at));
      at = diskFacts(at)?.parent ?? null;
    }
    return { key, files };
  });
}

/** VirtualMachineFileLayout. */
export function fileLayout(vm: VmView): object {
  const name = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
  const files = filesOf(vm);
  return {
    configFile: files.filter(({ type }) => type === 'config').map((file) => name(file.name)),
    logFile: files.filter(({ type }) => type === 'log').map((file) => name(file.name)),
    disk: chains(vm).map(({ key, files: diskFile }) => ({ key, diskFile })),
    snapshot: [],
  };
}

/** VirtualMachineFileLayoutEx. */
export function fileLayoutEx(vm: VmView): object {
  const files = filesOf(vm);
  return {
    file: files.map(({ key, name, type, size, used: uniqueSize }) => ({
      key,
      name,
      type,
      size,
      uniqueSize,
      accessible: true,
    })),
    disk: chains(vm).map(({ key, files: names }) => ({
      key,
      chain: names.map((name) => ({ fileKey: files.filter((file) => file.name === name).map((file) => file.key) })),
    })),
    snapshot: [],
    timestamp: new Date(),
  };
}
