/** Datastore `datastore1`: a directory. Datastore paths never lead out of it. */
import { statfsSync } from 'node:fs';
import { lstat, realpath } from 'node:fs/promises';
import { dirname, join, normalize, sep } from 'node:path';
import type { ManagedObjectReference } from '../../vim25/types.generated.js';
import { restrictedCaller } from '../access/caller.js';
import type { Need } from '../datastore/file-access.js';
import { fault } from '../faults.js';
import { isOwnFile } from '../datastore/own-files.js';
import { ManagedObject } from '../objects/managed-object.js';

export const DATASTORE = 'datastore1';
/** What is longer would be kept in the faults of tasks. */
const MAX_PATH = 4096;
/** Where the host has it mounted, as it tells clients. */
export const DATASTORE_MOUNT = `/vmfs/volumes/${DATASTORE}`;

/** The datastore as a managed object and as a place of files. */
export class Datastore extends ManagedObject {
  constructor(
    readonly directory: string,
    private readonly related: {
      parent: ManagedObjectReference;
      browser: ManagedObjectReference;
      host: ManagedObjectReference;
      vms(): ManagedObjectReference[];
      /** Throws NoPermission where the caller may not do that with the file of that relative path. */
      check(path: string, need: Need): void;
    },
  ) {
    super('Datastore', DATASTORE);
  }

  property(name: string): unknown {
    switch (name) {
      case 'name':
        return DATASTORE;
      case 'parent':
        return this.related.parent;
      case 'browser':
        return this.related.browser;
      case 'vm':
        return this.related.vms();
      case 'host':
        return [
          {
            $type: 'DatastoreHostMount',
            key: this.related.host,
            mountInfo: { path: DATASTORE_MOUNT, accessMode: 'readWrite', mounted: true, accessible: true },
          },
        ];
      case 'summary':
        return {
          datastore: this.ref,
          name: DATASTORE,
          url: DATASTORE_MOUNT,
          ...this.space(),
          uncommitted: 0,
          accessible: true,
          multipleHostAccess: false,
          type: 'VMFS',
          maintenanceMode: 'normal',
        };
      case 'info':
        return {
          $type: 'LocalDatastoreInfo',
          name: DATASTORE,
          url: DATASTORE_MOUNT,
          freeSpace: this.space().freeSpace,
          maxFileSize: 64 * 2 ** 40,
          maxVirtualDiskCapacity: 2 ** 40,
          maxMemoryFileSize: 64 * 2 ** 40,
          timestamp: new Date(),
          path: DATASTORE_MOUNT,
        };
      case 'capability':
        return {
          directoryHierarchySupported: true,
          rawDiskMappingsSupported: false,
          perFileThinProvisioningSupported: true,
          storageIORMSupported: false,
          nativeSnapshotSupported: false,
          seSparseSupported: false,
        };
      default:
        return undefined;
    }
  }

  private space(): { capacity: number; freeSpace: number } {
    const { bsize, bavail, blocks } = statfsSync(this.directory);
    return { capacity: bsize * blocks, freeSpace: bsize * bavail };
  }

  /** VirtualMachineConfigInfoDatastoreUrlPair. */
  urlPair(): { name: string; url: string } {
    return { name: DATASTORE, url: DATASTORE_MOUNT };
  }

  propertyNames(): string[] {
    return ['name', 'parent', 'browser', 'vm', 'host', 'summary', 'info', 'capability'];
  }

  RefreshDatastore(): void {}

  RefreshDatastoreStorageInfo(): void {}

  /** Local path of `[datastore1] path`. @throws InvalidDatastorePath, InvalidDatastore */
  resolve(datastorePath: string): string {
    if (datastorePath.length > MAX_PATH)
      throw fault('InvalidDatastorePath', `A datastore path has at most ${MAX_PATH} characters`, {
        datastorePath: datastorePath.slice(0, 100),
      });
    const match = /^\[([^\]]*)\]\s*(.*)$/s.exec(datastorePath);
    if (match === null)
      throw fault('InvalidDatastorePath', `'${datastorePath}' is not a datastore path`, { datastorePath });
    if (match[1] !== DATASTORE)
      throw fault('InvalidDatastore', `There is no datastore '${match[1]}'`, { name: match[1] });
    return this.inside(match[2]!, datastorePath);
  }

  /** Local path of a path below the root. @throws InvalidDatastorePath */
  inside(path: string, shown = path): string {
    const clean = normalize(`/${path}`);
    // What hostd keeps of a disk is not for clients.
    if (path.includes('\0') || path.split('/').includes('..') || isOwnFile(clean))
      throw fault('InvalidDatastorePath', `'${shown}' is not a path of the datastore`, { datastorePath: shown });
    return clean === sep ? this.directory : join(this.directory, clean).replace(/\/$/, '');
  }

  /**
   * Local path of `[datastore1] path` for a caller who wants to do something with it: every file that a request names goes through
   * here or {@link admit}. @throws NoPermission, InvalidDatastorePath, InvalidDatastore
   */
  async locate(datastorePath: string, need: Need): Promise<string> {
    return this.admit(this.resolve(datastorePath), need);
  }

  /** As {@link locate}, for a local path. */
  async admit(local: string, need: Need): Promise<string> {
    this.related.check(this.relative(local), need);
    await this.confine(local);
    return local;
  }

  /** Refuses a path that a symbolic link would lead out of the datastore. @throws InvalidDatastorePath */
  private async confine(local: string): Promise<void> {
    const root = await realpath(this.directory);
    for (let at = local; at.length > this.directory.length; at = dirname(at)) {
      const stat = await lstat(at).catch(() => null);
      if (stat === null) continue;
      const real = await realpath(at);
      if (real !== root && !real.startsWith(`${root}${sep}`))
        throw fault('InvalidDatastorePath', 'The path leads out of the datastore', { datastorePath: this.pathOf(at) });
      // Whose a file is, is told by its path: a link could lead to another's.
      if (restrictedCaller() !== undefined && real !== `${root}${at.slice(this.directory.length)}`)
        throw fault('InvalidDatastorePath', 'The path leads over a link', { datastorePath: this.pathOf(at) });
      return;
    }
  }

  /** True for a local path, as it may be named by a file of anybody's, of a file that a client may know by it. */
  has(local: string): boolean {
    if (!local.startsWith(`${this.directory}/`)) return false;
    try {
      return this.inside(this.relative(local)) === local;
    } catch {
      return false;
    }
  }

  /** A local path without the datastore's directory; empty for that itself. */
  relative(local: string): string {
    return local.slice(this.directory.length + 1);
  }

  /** `[datastore1] path` of a local path. */
  pathOf(local: string): string {
    return `[${DATASTORE}] ${this.relative(local)}`;
  }
}
