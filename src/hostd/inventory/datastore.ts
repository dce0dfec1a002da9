/** Datastore: the one datastore of the host, a directory. */
import { statfsSync } from 'node:fs';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { DATASTORE, DATASTORE_MOUNT } from '../datastore/datastore-paths.js';
import { ManagedObject } from '../objects/managed-object.js';
import { DATASTORE_BROWSER, DATASTORE_FOLDER, DATASTORE_REF, HOST_SYSTEM } from '../references.js';

export class Datastore extends ManagedObject {
  /** @param directory on this machine */
  constructor(
    private readonly directory: string,
    private readonly vms: () => ManagedObjectReference[],
  ) {
    super('Datastore', DATASTORE_REF.value);
  }

  property(name: string): unknown {
    switch (name) {
      case 'name':
        return DATASTORE;
      case 'parent':
        return DATASTORE_FOLDER;
      case 'browser':
        return DATASTORE_BROWSER;
      case 'vm':
        return this.vms();
      case 'host':
        return [
          {
            $type: 'DatastoreHostMount',
            key: HOST_SYSTEM,
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

  propertyNames(): string[] {
    return ['name', 'parent', 'browser', 'vm', 'host', 'summary', 'info', 'capability'];
  }

  RefreshDatastore(): void {}

  RefreshDatastoreStorageInfo(): void {}
}
