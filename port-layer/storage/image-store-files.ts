/** The virtual container host's part of a datastore: paths, directories and vim25 file operations. */
import { isEmbedded } from '../../src/common/embedded-host.js';
import { isKind } from '../../src/common/errors.js';
import {
  type DatastoreClient,
  datastorePath,
  type HostDatastoreBrowserSearchSpec,
  type ManagedObjectReference,
  type VimClient,
} from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import { storeRoot } from './volume-disks.js';

/** What is used of HostDatastoreBrowserSearchResults: the files of a directory. */
interface Found {
  file?: { $type?: string; path: string; fileSize?: number }[];
}

/** Directories below `VIC/<vch id>` of a store: that of the images, or one of volumes. */
export class ImageStoreFiles {
  readonly datastore: DatastoreClient;
  /** Relative to the datastore. */
  readonly root: string;

  private datastoreRef: Promise<ManagedObjectReference> | null = null;

  constructor(
    private readonly client: VimClient,
    config: VchConfig,
    private readonly datacenter: ManagedObjectReference,
    private readonly store: VchConfig['imageStore'] = config.imageStore,
  ) {
    this.datastore = client.datastore(store.datastore, config.datacenter);
    this.root = storeRoot({ imageStore: store, id: config.id });
  }

  get images(): string {
    return `${this.root}/images`;
  }

  private get fileManager(): ManagedObjectReference {
    const { fileManager } = this.client.serviceContent;
    if (fileManager === undefined) throw new PortLayerError('target.noFileManager', {});
    return fileManager;
  }

  private path(path: string): string {
    return datastorePath(this.store.datastore, path);
  }

  async makeDirectory(path: string): Promise<void> {
    try {
      await this.client.call('MakeDirectory', this.fileManager, {
        name: this.path(path),
        datacenter: this.datacenter,
        createParentDirectories: true,
      });
    } catch (error) {
      if (!isKind(error, 'conflict')) throw error;
    }
  }

  /** Moves a file or directory. @throws conflict when the target exists */
  async move(from: string, to: string): Promise<void> {
    await this.client.runTask('MoveDatastoreFile_Task', this.fileManager, {
      sourceName: this.path(from),
      sourceDatacenter: this.datacenter,
      destinationName: this.path(to),
      destinationDatacenter: this.datacenter,
      force: false,
    });
  }

  /** Whether disks can share content and be switched while they are in use: only the embedded host's. */
  get sharesDisks(): boolean {
    return isEmbedded(this.client.serviceContent.about);
  }

  private get diskManager(): ManagedObjectReference {
    const { virtualDiskManager } = this.client.serviceContent;
    if (virtualDiskManager === undefined) throw new PortLayerError('target.noFileManager', {});
    return virtualDiskManager;
  }

  /**
   * Copies a disk. @param shared its content is not copied: both stand on the same from then on (`src/hostd/disks/point-disks.ts`)
   * @param force replace the target
   * @throws conflict when the target exists
   */
  async copyDisk(from: string, to: string, shared: boolean, force = false): Promise<void> {
    await this.client.runTask('CopyVirtualDisk_Task', this.diskManager, {
      sourceName: this.path(from),
      sourceDatacenter: this.datacenter,
      destName: this.path(to),
      destDatacenter: this.datacenter,
      ...(shared ? { destSpec: { $type: 'VirtualDiskSpec', diskType: 'delta', adapterType: 'lsiLogic' } } : {}),
      force,
    });
  }

  /** Puts what a disk has in itself into the one that it stands on, which nobody else may need (`src/hostd/disks/merge-disks.ts`). */
  mergeDisk(upper: string, lower: string): Promise<void> {
    return this.copyDisk(upper, lower, true, true);
  }

  /** Puts the lower one of two disks that were merged into the place of the upper one. */
  async takePlace(lower: string, upper: string): Promise<void> {
    await this.client.runTask('MoveVirtualDisk_Task', this.diskManager, {
      sourceName: this.path(lower),
      sourceDatacenter: this.datacenter,
      destName: this.path(upper),
      destDatacenter: this.datacenter,
      force: true,
    });
  }

  /** Gives a disk that no VM uses a larger capacity. */
  async extendDisk(path: string, capacityBytes: number): Promise<void> {
    await this.client.runTask('ExtendVirtualDisk_Task', this.diskManager, {
      name: this.path(path),
      datacenter: this.datacenter,
      newCapacityKb: capacityBytes / 1024,
      eagerZero: false,
    });
  }

  /** Removes a file, or a directory with everything in it. Does nothing if it does not exist. */
  async remove(path: string): Promise<void> {
    try {
      await this.client.runTask('DeleteDatastoreFile_Task', this.fileManager, {
        name: this.path(path),
        datacenter: this.datacenter,
      });
    } catch (error) {
      if (!isKind(error, 'notFound')) throw error;
    }
  }

  /** The datastore's space, according to the inventory. */
  async space(): Promise<{ capacity: number; free: number }> {
    this.datastoreRef ??= this.findDatastore();
    this.datastoreRef.catch(() => {
      this.datastoreRef = null;
    });
    const [store] = await this.client.retrieve([await this.datastoreRef], 'Datastore', ['summary']);
    const summary = store?.props.summary;
    return { capacity: summary?.capacity ?? 0, free: summary?.freeSpace ?? 0 };
  }

  /** Bytes of all files below a directory; 0 if it does not exist. */
  async bytesBelow(path: string): Promise<number> {
    const found = await this.search('SearchDatastoreSubFolders_Task', path, {
      matchPattern: ['*'],
      details: { fileType: false, fileSize: true, modification: false, fileOwner: false },
    });
    const directories = (found as { HostDatastoreBrowserSearchResults?: Found[] } | null)
      ?.HostDatastoreBrowserSearchResults;
    return (directories ?? (found as Found[] | null) ?? [])
      .flatMap(({ file = [] }) => file)
      .filter(({ $type }) => $type !== 'FolderFileInfo')
      .reduce((sum, { fileSize = 0 }) => sum + Number(fileSize), 0);
  }

  private async findDatastore(): Promise<ManagedObjectReference> {
    const datastores = await this.client.retrieve([this.datacenter], 'Datacenter', ['datastore']);
    const stores = await this.client.retrieve(datastores[0]?.props.datastore ?? [], 'Datastore', ['name']);
    const store = stores.find(({ props }) => props.name === this.store.datastore);
    if (store === undefined) throw new PortLayerError('target.noDatastore', { datastore: this.store.datastore });
    return store.ref;
  }

  /** Names in a directory; none if it does not exist. */
  async list(path: string): Promise<string[]> {
    const found = await this.search('SearchDatastore_Task', path, { matchPattern: ['*'] });
    return ((found as Found | null)?.file ?? []).map((file) => file.path);
  }

  /** Null if there is no such directory. */
  private async search(
    operation: 'SearchDatastore_Task' | 'SearchDatastoreSubFolders_Task',
    path: string,
    searchSpec: HostDatastoreBrowserSearchSpec,
  ): Promise<unknown> {
    const datastores = await this.client.retrieve([this.datacenter], 'Datacenter', ['datastore']);
    const stores = await this.client.retrieve(datastores[0]?.props.datastore ?? [], 'Datastore', ['name', 'browser']);
    const browser = stores.find((store) => store.props.name === this.store.datastore)?.props.browser;
    if (browser === undefined) throw new PortLayerError('target.noDatastore', { datastore: this.store.datastore });
    try {
      return (await this.client.runTask(operation, browser, { datastorePath: this.path(path), searchSpec })) ?? null;
    } catch (error) {
      if (isKind(error, 'notFound')) return null;
      throw error;
    }
  }
}
