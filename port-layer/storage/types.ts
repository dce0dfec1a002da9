/** What is kept on the datastore: image layers, volumes, and small values. */
import type { Readable } from 'node:stream';

/** A stored image layer. */
export interface LayerInfo {
  /** `sha256:…` */
  chainId: string;
  parent: string | null;
  diffId: string;
  /** Bytes of file content in this layer, as Docker counts an image's size. */
  size: number;
  /** The layer below (its chain id) whose disk is this one's too: this one changes nothing. Without it, a disk of its own. */
  disk?: string;
}

/** See {@link LayerStore.write}. */
export interface LayerWriteOptions {
  verify(): Promise<void>;
  applied?(): void;
  signal?: AbortSignal;
}

/** Image layers on the datastore. */
export interface LayerStore {
  has(chainId: string): boolean;
  get(chainId: string): LayerInfo | undefined;
  list(): LayerInfo[];
  /**
   * Writes a layer from its uncompressed tar and publishes it in one step; a failed or aborted write leaves nothing. The
   * caller has the digest checked: `verify` is awaited after the tar's end and before the layer is published. `applied` is called
   * when the next layer may be written on this one, though it is not stored yet; no layer is published before its parent.
   * @throws invalid (bad tar), insufficientResources (datastore full)
   */
  write(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    options: LayerWriteOptions,
  ): Promise<LayerInfo>;
  /** @throws conflict while a layer or container stands on it */
  delete(chainId: string): Promise<void>;
}

/** A volume in a container. */
export interface VolumeMount {
  /** Its name. */
  volume: string;
  /** Absolute, without `.` and `..`; links in it are followed inside the container's root. */
  path: string;
  readOnly: boolean;
  /** A directory in the volume, instead of its root; relative. */
  subpath?: string;
  /** It is to be removed with the container: nothing in it need be kept beyond that. */
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
}

/** A volume to be made. Without `capacityBytes` it has the usual capacity, of which only what is written takes room. */
export type NewVolume = Omit<VolumeInfo, 'createdAt' | 'capacityBytes'> & { capacityBytes?: number };

/** A directory of an image, by its last layer: what a new volume begins with. */
export interface VolumeContent {
  layer: string | null;
  path: string;
}

/** Volumes on the datastore: disks that outlive containers. */
export interface VolumeStore {
  list(): VolumeInfo[];
  get(name: string): VolumeInfo | undefined;
  /**
   * Makes a volume with what the image's directory has, and that directory's owner and mode; an image without it gives nothing. One that
   * is there already is given as it is.
   * @throws invalid, insufficientResources, cancelled; nothing is left then
   */
  create(volume: NewVolume, content?: VolumeContent | null, signal?: AbortSignal): Promise<VolumeInfo>;
  /** As the content of `create`, for a volume that is there, if it is empty and not in use. True when it was. @throws notFound */
  populate(name: string, content: VolumeContent, signal?: AbortSignal): Promise<boolean>;
  /** It is off the list at once. @throws notFound; conflict while a container has it */
  remove(name: string): Promise<void>;
  /** Bytes of its files, as last written to the disk. @throws notFound, invalid (it is being changed) */
  usage(name: string, signal?: AbortSignal): Promise<number>;
}

/** Small durable values on the datastore, each replaced whole. */
export interface KeyValueStore {
  get(key: string): Promise<Buffer | undefined>;
  put(key: string, value: Buffer): Promise<void>;
  delete(key: string): Promise<void>;
}
