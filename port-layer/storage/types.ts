/** What is kept on the datastore: image layers, volumes and small values. */
import type { Readable } from 'node:stream';
import type { RecipeSize } from '../../src/disk/index.js';

/** A stored image layer. */
export interface LayerInfo {
  /** `sha256:…` */
  chainId: string;
  parent: string | null;
  diffId: string;
  /** Bytes of file content in this layer, as Docker counts an image's size. */
  size: number;
  /** A layer that changes nothing has no disk of its own: chain id of the layer below whose disk it uses. */
  disk?: string;
  /** How its tar is made again from the disk. Layers stored by earlier versions have none. */
  recipe?: { version: number } & RecipeSize;
  /** What it was pulled as, if that is kept too. */
  blob?: KeptBlob;
}

/** A layer as it came from a registry, compressed. */
export interface KeptBlob {
  digest: string;
  /** Bytes. */
  size: number;
}

/** See {@link LayerStore.write}. */
export interface LayerWriteOptions {
  verify(): Promise<void>;
  applied?(): void;
  /** Kept with the layer: a local file, verified, which stays the caller's. */
  blob?: KeptBlob & { path: string };
  signal?: AbortSignal;
}

/** Image layers on the datastore. */
export interface LayerStore {
  has(chainId: string): boolean;
  get(chainId: string): LayerInfo | undefined;
  list(): LayerInfo[];
  /**
   * Writes a layer from its uncompressed tar and publishes it in one step; a failed or aborted write leaves nothing behind. The caller
   * checks the digest: `verify` is awaited after the tar's end and before the layer is published. `applied` is called when the next layer
   * may be written on this one, although it is not stored yet; no layer is published before its parent.
   * @throws invalid (bad tar), insufficientResources (datastore full)
   */
  write(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    options: LayerWriteOptions,
  ): Promise<LayerInfo>;
  /**
   * Writes a layer whose digest is known only at its end. It is not in the store before it is published.
   * @param parent a stored layer, which the caller keeps
   * @throws like `write`; nothing is left then
   */
  prepare(parent: string | null, tar: Readable, signal?: AbortSignal): Promise<PreparedLayer>;
  /** Bytes of a layer's tar; null if an earlier version stored the layer, so that only `newTar` gives one. @throws notFound */
  tarSize(chainId: string): number | null;
  /**
   * The layer's tar, bit for bit as it came. The stream fails (`internal`) before its end if its digest is not the layer's.
   * @throws notFound; unsupported for a layer that an earlier version stored
   */
  tar(chainId: string, signal?: AbortSignal): Promise<Readable>;
  /**
   * A tar made from what the layer changes on its disk, with a digest of its own, which stays the same. Owners, modes, whole seconds,
   * capabilities and links are in it.
   * @throws notFound, unavailable
   */
  newTar(chainId: string, signal?: AbortSignal): Promise<Readable>;
  /** The blob that was kept with a layer. @throws notFound */
  blob(chainId: string, signal?: AbortSignal): Promise<Readable>;
  /** @throws conflict while another layer or a container is based on it */
  delete(chainId: string): Promise<void>;
}

/** A layer that is complete, but not in the store. */
export interface PreparedLayer {
  readonly chainId: string;
  readonly diffId: string;
  /** Bytes of its tar. */
  readonly tarSize: number;
  /** @throws like `LayerStore.write` */
  publish(): Promise<LayerInfo>;
  /** Removes what is left of it here; to be called in any case. */
  discard(): Promise<void>;
}

/** What the guest mounts in place of a volume's disk, as mount(2) takes it. */
export interface GuestMount {
  type: 'tmpfs' | 'nfs' | 'nfs4';
  device: string;
  flags: number;
  /** `size=1m,mode=700`, `addr=10.0.0.1,nfsvers=4`; may be empty. A host name in `addr` is looked up when a container starts. */
  data: string;
}

/** A volume in a container. */
export interface VolumeMount {
  /** Its name. */
  volume: string;
  /** Absolute, without `.` and `..`; links in it are followed within the container's root. */
  path: string;
  readOnly: boolean;
  /** A directory in the volume, instead of its root; relative. */
  subpath?: string;
  /** Label of its store, and what the guest mounts if it has no disk: the port layer fills these in when a container is made. */
  store?: string;
  mount?: GuestMount;
  /** An NFS volume that is empty when the container first starts gets what the image has at the path. */
  fill?: boolean;
  /** It is removed together with the container: nothing in it has to survive that. */
  disposable?: boolean;
}

/** A stored volume. */
export interface VolumeInfo {
  name: string;
  createdAt: string;
  capacityBytes: number;
  driver: string;
  labels: Record<string, string> | null;
  options: Record<string, string> | null;
  /** Label of the store that it is in; undefined: `default`. */
  store?: string;
  /** It has no disk (its capacity is 0), but this. */
  mount?: GuestMount;
  /** The points that its disk stands on, the nearest first. */
  points?: string[];
  /** A point that is being made of its disk; or the one of a snapshot that it goes back to. */
  pending?: string;
  snapshots?: VolumeSnapshot[];
}

/** The content of a volume at one moment. */
export interface VolumeSnapshot {
  name: string;
  createdAt: string;
  /** The disk that has the content, and those that it stands on. */
  points: string[];
  capacityBytes: number;
}

/** What becomes of volumes besides being made and removed. */
export interface VolumeLifeStore {
  /**
   * Keeps the present content under a name, in the same time whatever its size. While a running container writes to the volume, its
   * filesystem is frozen for that moment.
   * @throws notFound, conflict (the name is taken; it is in use and cannot be frozen), invalid (the name), unsupported
   */
  snapshot(volume: string, name: string): Promise<VolumeSnapshot>;
  /** @throws notFound */
  removeSnapshot(volume: string, name: string): Promise<void>;
  /**
   * Gives a volume the content and the size that it had when a snapshot was made. What it has now is lost, unless it is in another snapshot:
   * all of them stay. @throws notFound, conflict (it is in use)
   */
  revert(volume: string, snapshot: string): Promise<VolumeInfo>;
  /**
   * Makes a volume with the content of another one, now or when a snapshot was made, in the same time whatever its size.
   * @throws notFound, conflict (there is such a volume; the source is in use and cannot be frozen), unsupported
   */
  clone(volume: NewVolume, source: { volume: string; snapshot?: string }): Promise<VolumeInfo>;
  /**
   * Makes a volume larger. Its filesystem grows when a container next mounts it for writing.
   * @throws notFound, conflict (it is in use), invalid (it would not be larger)
   */
  grow(volume: string, capacityBytes: number): Promise<VolumeInfo>;
}

/** Volumes as archives. */
export interface VolumeArchiveStore {
  /**
   * The files as a tar, or the disk as a stream-optimized VMDK: of a snapshot, or as they are now. A volume that a container writes to is
   * frozen for a moment first; one that nobody uses cannot be mounted for writing until the stream has ended or is destroyed.
   * @throws notFound, conflict, unavailable
   */
  export(
    source: { volume: string; snapshot?: string },
    format: 'tar' | 'vmdk',
    signal?: AbortSignal,
  ): Promise<Readable>;
  /**
   * Makes a volume of a tar, or of a VMDK of the type streamOptimized or monolithicSparse, whichever it is. The volume is there when all of
   * it is. @throws conflict (there is such a volume), invalid, unsupported, insufficientResources
   */
  import(volume: NewVolume, archive: AsyncIterable<Buffer>, signal?: AbortSignal): Promise<VolumeInfo>;
}

/** A volume to be read for a backup. */
export interface VolumeSince {
  volume: string;
  /** Marks of earlier backups that the reader has, the one that it would like best first. */
  since: string[];
}

/** What is read of volumes, in this order for each: `volume`, its units, `volumeEnd`. */
export type VolumeBackupPiece =
  | {
      type: 'volume';
      volume: string;
      capacityBytes: number;
      /** Bytes of a unit; the last one may be shorter. */
      unitBytes: number;
      /** The mark of the backup that the following changes; null: it is all of the volume. */
      base: string | null;
      /** What the next backup can be based on; null where the host does not keep such states. */
      mark: string | null;
    }
  /** What the unit has now; empty: zeros. A unit that has no piece is as in `base`, or zeros without one. */
  | { type: 'unit'; unit: number; data: Buffer }
  | { type: 'volumeEnd'; volume: string };

/** Volumes for backups. */
export interface VolumeBackupStore {
  /**
   * What volumes have at this moment, of those that one running container has at the same moment: their filesystems are frozen together. Of
   * each only what changed since the first mark that it still stands on. Nothing keeps containers from going on writing.
   * @throws notFound, conflict, unsupported (a volume without a disk), unavailable
   */
  read(volumes: VolumeSince[], signal?: AbortSignal): AsyncGenerator<VolumeBackupPiece>;
}

/** A volume to be made. Without `capacityBytes` it gets the default capacity; it only takes space for what is written. */
export type NewVolume = Omit<VolumeInfo, 'createdAt' | 'capacityBytes' | 'points' | 'pending' | 'snapshots'> & {
  capacityBytes?: number;
};

/** A directory of an image, given by its last layer: the initial content of a new volume. */
export interface VolumeContent {
  layer: string | null;
  path: string;
}

/** Volumes on the datastore: disks that outlive containers. */
export interface VolumeStore {
  list(): VolumeInfo[];
  get(name: string): VolumeInfo | undefined;
  /**
   * Makes a volume with the content, owner and mode of the image's directory; it stays empty if the image has no such directory. A volume
   * that already exists is returned as it is.
   * @throws invalid, insufficientResources, cancelled; then nothing is left behind
   */
  create(volume: NewVolume, content?: VolumeContent | null, signal?: AbortSignal): Promise<VolumeInfo>;
  /** Copies content as `create` does into an existing volume, if that is empty and not in use. True if it did so. @throws notFound */
  populate(name: string, content: VolumeContent, signal?: AbortSignal): Promise<boolean>;
  /** Where it is, in vSphere's notation; '' for one without a disk. */
  placeOf(name: string): string;
  /** It leaves the list at once. @throws notFound; conflict while a container has it */
  remove(name: string): Promise<void>;
  /** Bytes of its files, as last written to the disk. @throws notFound, invalid (it is being changed) */
  usage(name: string, signal?: AbortSignal): Promise<number>;
}

/** Small durable values on the datastore, each replaced whole. */
export interface KeyValueStore {
  get(key: string): Promise<Buffer | undefined>;
  put(key: string, value: Buffer): Promise<void>;
  delete(key: string): Promise<void>;
  /** All keys that have a value. */
  keys(): Promise<string[]>;
}
