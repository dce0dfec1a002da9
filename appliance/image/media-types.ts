/** Media types of OCI image-spec (media-types.md) and of Docker's image manifest version 2, schema 2; which of them are images. */
import { invalid, unsupported } from '../../src/common/errors.js';

export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
export const DOCKER_MANIFEST_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';
export const DOCKER_SCHEMA1 = 'application/vnd.docker.distribution.manifest.v1+json';
export const DOCKER_SCHEMA1_SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
/** Docker's type of a compressed layer. */
export const GZIP_LAYER = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
/** Only OCI has a type for it. */
export const ZSTD_LAYER = 'application/vnd.oci.image.layer.v1.tar+zstd';

/** Types named in the request. A registry that only has schema 1 may answer with that all the same. */
export const MANIFEST_MEDIA_TYPES = [DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST];

/** Configuration types that Docker accepts in its own manifests: the configurations of old images have the type they were sent with. */
const IMAGE_CONFIGS = new Set([
  DOCKER_CONFIG,
  OCI_CONFIG,
  'application/octet-stream',
  'application/json',
  'text/html',
  '',
]);
const CLASSES: Record<string, string> = { 'application/vnd.docker.plugin.v1+json': 'plugin' };

/** Media types of configurations and layers: exact ones, and prefixes that may be followed by a dot and more. */
const SUPPORTED = [
  'application/vnd.oci.image',
  'application/vnd.docker',
  'application/octet-stream',
  'application/json',
  'text/html',
  '',
];

/** Checks the type of a configuration in one of Docker's own manifests. @throws invalid in Docker's words */
export function checkImageConfig(mediaType: string): void {
  if (IMAGE_CONFIGS.has(mediaType)) return;
  throw invalid(`Encountered remote "${mediaType}"(${CLASSES[mediaType] ?? 'unknown'}) when fetching`);
}

/**
 * Checks a type that a manifest refers to. A non-distributable layer is treated like any other if the registry has it.
 * @throws unsupported in Docker's words
 */
export function checkSupported(mediaType: string): void {
  const name = mediaType.toLowerCase();
  if (name.startsWith('application/vnd.docker.ai.'))
    throw invalid('AI models are not yet supported by the Engine, please use "docker model pull/run" instead');
  if (SUPPORTED.some((type) => name === type || name.startsWith(`${type}.`))) return;
  throw unsupported(`unsupported media type ${mediaType}`);
}
