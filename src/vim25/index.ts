/**
 * The vSphere API (vim25) as Caisson uses it: types and a codec generated from facts, and a client. Relies on nothing but HTTPS;
 * knows nothing of containers. The codec and the types are shared with hostd, which answers the same API.
 */

export { type Attachment, attachmentOf, backingOf, type DistributedPort, segmentOf } from './attachment.js';
export * from './client.js';
export { arrayOf, typedValue } from './codec.js';
export { DatastoreClient, datastorePath, type PutOptions } from './datastore.js';
export { type EventReaderOptions, readEvents } from './event-reader.js';
export { VimFault } from './faults.js';
export { type FoundPortGroup, type NewPortGroup, type PortGroups, portGroupsLike } from './port-groups.js';
export { PropertyWatcher, type WatchedObject, type WatchListener } from './property-watcher.js';
export type { Fault } from './soap-message.js';
export { loadDescription } from './soap-service.js';
export type * from './typed-calls.js';
export type * from './types.generated.js';
