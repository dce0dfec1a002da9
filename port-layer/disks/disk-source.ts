/** A disk that is to be read, and what belongs to it. */
import type { DatastoreClient } from '../../src/vim25/index.js';
import { DatastoreBlocks } from '../storage/datastore-blocks.js';
import type { StorageReserve } from '../storage/storage-reserve.js';
import type { OpenBlocks } from './reader-process.js';

/** A disk on the datastore. */
export interface DiskSource {
  /** Its owner, for messages: `container 1234…`. */
  what: string;
  /** Relative to the datastore. */
  path: string;
  /** The disks of the layers below it. No other file is opened, whatever the disk names as its parent. */
  layers: string[];
  /** Keeps the layers as they are from before the disk is opened until it is closed. */
  hold?: () => Promise<() => void>;
  openBlocks: OpenBlocks;
  datastore: DatastoreClient;
  /** Directory for the copy that is changed. */
  spoolDir: string;
  /** Asked for space for that copy, if there is a limit. */
  room?: StorageReserve | null;
  /** Report each put's own failure. */
  stepByStep?: boolean;
}

/** A volume's disk. @param points paths of those that it stands on */
export function volumeSource(
  name: string,
  path: string,
  points: string[],
  datastore: DatastoreClient,
  spoolDir: string,
  room: StorageReserve | null = null,
): DiskSource {
  const openBlocks: OpenBlocks = (file) => DatastoreBlocks.open(datastore, file);
  return { what: `volume ${name}`, path, layers: points, openBlocks, datastore, spoolDir, room, stepByStep: true };
}
