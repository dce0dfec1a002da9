/** The volume stores that are open, by label. */
import { PortLayerError } from '../errors.js';
import { type DiskPublisher, DiskUploads } from './disk-publisher.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { NfsStores } from './nfs-stores.js';
import type { StorageReserve } from './storage-reserve.js';
import { DEFAULT_STORE } from './volume-disks.js';

/** A new volume's file is sent from memory up to this size. */
const SMALL_DISK = 8 * 2 ** 20;

/** A volume store, as its files are reached. */
export interface StoreFiles {
  files: ImageStoreFiles;
  room: StorageReserve | null;
}

/** A volume store that is open. */
export interface OpenStore extends StoreFiles {
  /** Relative to its datastore. */
  directory: string;
  publisher: DiskPublisher;
}

/** See the file's head. */
export class VolumeStores {
  private readonly byLabel: ReadonlyMap<string, OpenStore>;

  /** @param nfs which of the labels are NFS servers', where volumes have no disks */
  constructor(
    own: StoreFiles,
    more: ReadonlyMap<string, StoreFiles>,
    private readonly nfs: NfsStores | null = null,
  ) {
    const all: [string, StoreFiles][] = [[DEFAULT_STORE, own], ...more];
    this.byLabel = new Map(all.map(([label, store]) => [label, open(store)]));
  }

  labels(): string[] {
    return [...this.byLabel.keys()];
  }

  /** The store for a disk. @throws notFound; unsupported when the label is that of an NFS server */
  get(label?: string): OpenStore {
    if (label !== undefined && this.nfs?.of(label) !== undefined)
      throw new PortLayerError('volume.nfsStore', { store: label });
    return this.opened(label);
  }

  /** The store on a datastore of this label, also if an NFS server has the label `default` by now. @throws notFound */
  opened(label = DEFAULT_STORE): OpenStore {
    const store = this.byLabel.get(label);
    if (store === undefined) throw new PortLayerError('volume.noStore', { store: label });
    return store;
  }
}

function open(store: StoreFiles): OpenStore {
  return {
    ...store,
    directory: `${store.files.root}/volumes`,
    publisher: new DiskUploads(store.files.datastore, store.room, SMALL_DISK),
  };
}
