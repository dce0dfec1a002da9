/**
 * Backups as they are kept: a directory of chunks and manifests, or the same as one tar. Knows nothing of the host that they come from.
 *
 * Everything read here may be damaged, or made by somebody else: lengths are bounded, names are checked, and content counts only with its digest.
 */
export { ArchiveWriter } from './archive-chunks.js';
export { type ChunkSink, type ChunkSource, MAX_CHUNK } from './chunks.js';
export { type Content, ContentWriter, changedContent, dataOf } from './content.js';
export { type BackupFiles, localFiles } from './files.js';
export {
  type BackedUpContainer,
  type BackedUpImage,
  type BackedUpVolume,
  backupId,
  decodeManifest,
  encodeManifest,
  type Manifest,
} from './manifest.js';
export { type BackupProblem, contentsOf, Repository, type UnreadableBackup } from './repository.js';
export { BackupTar, unpackBackup } from './tar.js';
export { grainsOf, unitLength, volumeDisk } from './volume-disk.js';
