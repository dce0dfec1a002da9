/**
 * The port layer: turns containers, layers, networks and streams into vSphere operations over vim25, and reads its whole state back from
 * there. Kill the process at any moment and open it again: every container, layer and address is found. It speaks only vim25 and the
 * tether's channel, and knows nothing of Docker or of what answers vim25.
 */

/** The tar format, for archives of images. */
export { TAR_END, type TarEntry, TarReader, tarHeader, tarPadding } from '../src/disk/index.js';
/** What takes a while to load before a port layer is opened. */
export { loadDescription as loadPortLayer } from '../src/vim25/index.js';
export { CAPABILITIES, DEFAULT_CAPABILITIES } from '../tether/program/capabilities.js';
export type { ProcessSpec, Rlimit, TmpfsSpec } from '../tether/program/spec.js';
export {
  type ArchiveEntry,
  type ErrorCode,
  type ErrorRecord,
  type ErrorSubject,
  errorOf,
  errorRecord,
  exitCodeOf,
  isCode,
  PortLayerError,
  type RemovalHinders,
} from './errors.js';
export type { ContainerSpec, LogRotation } from './exec/container-spec.js';
export type { StartGate } from './exec/start-gate.js';
export type * from './exec/types.js';
export type * from './files/types.js';
export type { HostInfo } from './host-info.js';
export { LineAssembler, RUN_END } from './interaction/output-log.js';
export type * from './interaction/types.js';
export type { EndpointKeys } from './network/endpoint-keys.js';
export { mainEndpoint, ranked, wayOut4, wayOut6, wholeEndpoint } from './network/endpoints.js';
export type * from './network/network-spec.js';
export { PLAIN_NETWORK } from './network/network-spec.js';
export type {
  ConnectOptions,
  Links,
  NetworkChange,
  NetworkEndpoint,
  NetworkInfo,
  NetworkService,
  NetworkWish,
} from './network/types.js';
export { HOST_GATEWAY } from './network/types.js';
export type { GuestProcess, Meter, ObserveService, ProcessList, ResourceUsage } from './observe/types.js';
export { openPortLayer } from './open.js';
export type { PortLayer } from './port-layer.js';
export { type Grow, type StorageReserve, type StorageUsage, withoutRoom } from './storage/storage-reserve.js';
export type * from './storage/types.js';
export { DEFAULT_STORE, storeLabels, volumeDiskName, volumeDisks } from './storage/volume-disks.js';
