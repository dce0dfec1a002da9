/** The port layer as the personality sees it: one service for each kind of thing. */

import type { StartGate } from './exec/start-gate.js';
import type { ContainerEvent, ExecService } from './exec/types.js';
import type { FileService } from './files/types.js';
import type { HostInfo } from './host-info.js';
import type { InteractionService } from './interaction/types.js';
import type { EndpointKeys } from './network/endpoint-keys.js';
import type { NetworkService } from './network/types.js';
import type { ObserveService } from './observe/types.js';
import type { StorageReserve } from './storage/storage-reserve.js';
import type {
  KeyValueStore,
  LayerStore,
  VolumeArchiveStore,
  VolumeBackupStore,
  VolumeLifeStore,
  VolumeStore,
} from './storage/types.js';

export interface PortLayer {
  readonly exec: ExecService;
  readonly interaction: InteractionService;
  readonly observe: ObserveService;
  readonly files: FileService;
  readonly layers: LayerStore;
  readonly volumes: VolumeStore;
  readonly volumeLife: VolumeLifeStore;
  readonly volumeArchives: VolumeArchiveStore;
  readonly volumeBackups: VolumeBackupStore;
  readonly kv: KeyValueStore;
  readonly network: NetworkService;
  /** The space that is kept free. */
  readonly room: StorageReserve;
  /** Keys of the endpoint's own VM. */
  readonly endpoint?: EndpointKeys;
  /** What has to be done before a container can use its addresses. */
  readonly startGate?: StartGate;
  hostInfo(): Promise<HostInfo>;
  /** Container events from now on, in order. Returns the unsubscriber. */
  onEvent(listener: (event: ContainerEvent) => void): () => void;
  close(): Promise<void>;
}
