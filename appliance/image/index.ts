/**
 * Images: pulls them from registries, takes them from archives and gives them back, and keeps records of the stored ones.
 *
 * It speaks the registry HTTP API v2 (OCI distribution-spec) with token and basic authentication, mirrors and resumed downloads; verifies
 * everything it fetches by digest; turns layers' blobs into tars; and decides what `docker rmi` removes. It relies on the port layer for
 * storing layers (`LayerStore`, which reads the tars) and records (`KeyValueStore`), and on a local directory for blobs in transit. It
 * never looks into a tar, never runs anything, and knows no HTTP status of the Docker API: its errors are CaissonError kinds with Docker's
 * words.
 */
export { decompress, sniffCompression } from './decompress.js';
export { commitReference } from './image-commit.js';
export { type ImageServiceOptions, type OpenImageService, openImageService } from './image-service.js';
export {
  DEFAULT_PLATFORM,
  formatPlatform,
  type Platform,
  parsePlatform,
  platformMatch,
  platformOf,
  platformWarning,
} from './platform.js';
export { layerProgress, ProgressMeter } from './progress.js';
export {
  familiarName,
  familiarString,
  joinReference,
  parseReference,
  type Reference,
  repositoryName,
  withDefaultTag,
} from './reference.js';
export type { RegistryConfig } from './registry-endpoints.js';
export { RUN_CONFIG_FIELDS } from './run-config.js';
export type * from './types.js';
