/** What making, loading and importing images need of the image service. */
import type { LayerStore, StorageReserve } from '../../port-layer/index.js';
import type { ImageStore } from './image-store.js';

export interface ImageWork {
  store: ImageStore;
  layers: LayerStore;
  /** For files in transit. */
  spoolDir: string;
  /** Asked before anything is written. */
  room?: StorageReserve | undefined;
  /** Keeps layers from being collected while `body` runs. */
  holding<T>(chainIds: string[], body: () => Promise<T>): Promise<T>;
  /** Held while records change. */
  exclusive<T>(body: () => Promise<T>): Promise<T>;
}
