/** Manifests and indexes: parsed and checked once, plain data afterwards. */
import { z } from 'zod';
import { CaissonError, invalid, unsupported } from '../../src/common/errors.js';
import { GoJsonError, goType, int, int64, readGoJson } from '../../src/common/go-json.js';
import {
  checkImageConfig,
  checkSupported,
  DOCKER_MANIFEST,
  DOCKER_MANIFEST_LIST,
  DOCKER_SCHEMA1,
  DOCKER_SCHEMA1_SIGNED,
  OCI_INDEX,
  OCI_MANIFEST,
} from './media-types.js';
import {
  DEFAULT_PLATFORM,
  formatPlatform,
  hostPlatform,
  type Platform,
  platformMatch,
  platformOf,
} from './platform.js';
import { isDigest } from './reference.js';
import type { FetchedManifest } from './registry-client.js';

/** The largest accepted image configuration; most have a few KiB. */
export const CONFIG_SIZE_MAX = 4 * 1024 * 1024;
/** The same as Docker's `maxLayerDepth`. */
export const LAYERS_MAX = 125;
export const DEPTH_EXCEEDED = 'max depth exceeded';
/** How well an entry without a platform fits: worse than any that names a suitable one. */
const UNNAMED = 0.1;

const text = z.string().optional();
const descriptorSchema = goType(
  'distribution.Descriptor',
  z.object({ mediaType: z.string(), digest: z.string(), size: int64 }),
);

/** Names some content by type, size and digest. */
export type Descriptor = z.infer<typeof descriptorSchema>;

const manifestSchema = goType(
  'Manifest',
  z.object({ schemaVersion: int, mediaType: text, config: descriptorSchema, layers: z.array(descriptorSchema) }),
);

const platformSchema = goType(
  'manifestlist.PlatformSpec',
  z.object({ architecture: z.string(), os: z.string(), variant: text }),
);

const indexSchema = goType(
  'ManifestList',
  z.object({
    schemaVersion: int,
    mediaType: text,
    manifests: z.array(
      goType('manifestlist.ManifestDescriptor', descriptorSchema.extend({ platform: platformSchema.optional() })),
    ),
  }),
);

/** A manifest or an index. */
export type Manifest =
  | { kind: 'image'; config: Descriptor; layers: Descriptor[] }
  | { kind: 'index'; manifests: (Descriptor & { platform?: Platform | undefined })[] };

/**
 * Parses a manifest as a registry sent it.
 * @param name for messages: the reference that was asked for
 * @throws unsupported for schema 1; invalid for anything malformed, and for manifests of Docker's own that are not images
 */
export function parseManifest(fetched: Pick<FetchedManifest, 'body' | 'mediaType'>, name: string): Manifest {
  const { body } = fetched;
  const json = parseJson(body, 'manifest') as {
    schemaVersion?: unknown;
    mediaType?: unknown;
    manifests?: unknown;
    layers?: unknown;
  } | null;
  const inside = typeof json?.mediaType === 'string' ? json.mediaType : undefined;
  if (
    json?.schemaVersion === 1 ||
    fetched.mediaType === DOCKER_SCHEMA1 ||
    fetched.mediaType === DOCKER_SCHEMA1_SIGNED
  ) {
    throw unsupported(
      `Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported. Suggest the author of ${name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2.`,
    );
  }
  // image-spec: a document that could be read as both is refused, so that all readers agree on what a digest means.
  if (json?.manifests !== undefined && json.layers !== undefined) {
    throw invalid('invalid manifest: both an index and an image');
  }
  switch (inside ?? fetched.mediaType) {
    case DOCKER_MANIFEST_LIST:
    case OCI_INDEX:
      return parseIndex(body);
    case DOCKER_MANIFEST:
      return parseImage(body, true);
    case OCI_MANIFEST:
      return parseImage(body, false);
    default:
      if (inside === undefined && json?.manifests !== undefined) return parseIndex(body);
      if (inside === undefined && json?.layers !== undefined) return parseImage(body, false);
      throw unsupported(`unsupported manifest media type "${inside ?? fetched.mediaType}"`);
  }
}

function parseImage(body: Buffer, ours: boolean): Manifest {
  const { config, layers } = read(manifestSchema, body, 'manifest');
  if (ours) checkImageConfig(config.mediaType);
  for (const descriptor of [config, ...layers]) checkDescriptor(descriptor);
  return { kind: 'image', config, layers };
}

/** Refuses anything that is not an image: OCI manifests are used for all kinds of things. @throws unsupported in Docker's words */
export function checkImage({ config, layers }: Manifest & { kind: 'image' }): void {
  for (const { mediaType } of [config, ...layers]) checkSupported(mediaType);
}

function parseIndex(body: Buffer): Manifest {
  const { manifests } = read(indexSchema, body, 'manifest list');
  return {
    kind: 'index',
    manifests: manifests.map(({ platform, ...descriptor }) => {
      checkDescriptor(descriptor);
      // A platform with neither an operating system nor an architecture counts as not given.
      const named = platform !== undefined && (platform.os !== '' || platform.architecture !== '');
      return { ...descriptor, platform: named ? platformOf(platform) : undefined };
    }),
  };
}

function checkDescriptor({ digest, size }: Descriptor): void {
  if (!isDigest(digest)) throw invalid(`invalid manifest: "${digest}" is not a digest`);
  if (size < 0) throw invalid(`invalid manifest: ${digest} has a negative size`);
}

/**
 * The best-fitting entry of an index; the first one among equals. Entries without a platform come after those with one; attestations, whose
 * platform is `unknown/unknown`, never fit.
 * @throws notFound in Docker's words
 */
export function selectManifest(index: Manifest & { kind: 'index' }, wanted?: Platform): Descriptor {
  let best: Descriptor | undefined;
  let bestMatch = 0;
  for (const entry of index.manifests) {
    const match = entry.platform ? platformMatch(wanted ?? hostPlatform(), entry.platform) : UNNAMED;
    if (match <= bestMatch) continue;
    best = entry;
    bestMatch = match;
  }
  if (best) return best;
  const name = formatPlatform(wanted ?? DEFAULT_PLATFORM);
  throw new CaissonError('notFound', `no matching manifest for ${name} in the manifest list entries`);
}

function parseJson(body: Buffer, what: string): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw invalid(`invalid ${what}: not JSON`, error);
  }
}

function read<T>(schema: z.ZodType<T>, body: Buffer, what: string): T {
  try {
    return readGoJson(body.toString('utf8'), schema);
  } catch (error) {
    if (error instanceof GoJsonError) throw invalid(error.message, error);
    throw invalid(`invalid ${what}: ${(error as Error).message}`, error);
  }
}
