/** Datastore: a directory of this machine. */
import { statfsSync } from 'node:fs';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { datastoreMount } from '../datastore/datastore-paths.js';
import type { DatastorePlace } from '../datastore/datastore-places.js';
import { ManagedObject } from '../objects/managed-object.js';
import { DATASTORE_FOLDER, datastoreBrowserRef, datastoreRef, HOST_SYSTEM } from '../references.js';

export class Datastore extends ManagedObject {
  /** @param vms the machines with files in it */
  constructor(
    private readonly place: DatastorePlace,
    private readonly vms: () => ManagedObjectReference[],
  ) {
    super('Datastore', datastoreRef(place.name).value);
  }

  property(name: string): unknown {
    switch (name) {
      case 'name':
        return this.place.name;
      case 'parent':
        return DATASTORE_FOLDER;
      case 'browser':
        return datastoreBrowserRef(this.place.name);
      case 'vm':
        return this.vms();
      case 'host':
        return [
          {
            $type: 'DatastoreHostMount',
            key: HOST_SYSTEM,
            mountInfo: {
              path: datastoreMount(this.place.name),
              accessMode: 'readWrite',
              mounted: true,
              accessible: true,
            },
          },
        ];
      case 'summary':
        return {
          datastore: this.ref,
          name: this.place.name,
          url: datastoreMount(this.place.name),
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
          name: this.place.name,
          url: datastoreMount(this.place.name),
          freeSpace: this.space().freeSpace,
          maxFileSize: 64 * 2 ** 40,
          maxVirtualDiskCapacity: 2 ** 40,
          maxMemoryFileSize: 64 * 2 ** 40,
          timestamp: new Date(),
          path: datastoreMount(this.place.name),
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
    const { bsize, bavail, blocks } = statfsSync(this.place.directory);
    return { capacity: bsize * blocks, freeSpace: bsize * bavail };
  }

  propertyNames(): string[] {
    return ['name', 'parent', 'browser', 'vm', 'host', 'summary', 'info', 'capability'];
  }

  RefreshDatastore(): void {}

  RefreshDatastoreStorageInfo(): void {}
}
