/** Manifests, indexes and image configurations: parsed and checked once, plain data afterwards. */
import { z } from 'zod';
import { CaissonError, invalid, unsupported } from '../../src/common/errors.js';
import {
  DOCKER_CONFIG,
  DOCKER_MANIFEST,
  DOCKER_MANIFEST_LIST,
  DOCKER_SCHEMA1,
  DOCKER_SCHEMA1_SIGNED,
  isForeignLayer,
  isLayer,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
} from './media-types.js';
import { DEFAULT_PLATFORM, formatPlatform, type Platform, platformMatch, platformOf } from './platform.js';
import { isDigest } from './reference.js';
import type { FetchedManifest } from './registry-client.js';
import type { ImageConfig } from './types.js';

/** The largest image configuration taken; they hold a few KiB. */
export const CONFIG_SIZE_MAX = 4 * 1024 * 1024;
/** As Docker (`maxLayerDepth`). */
export const LAYERS_MAX = 125;
export const DEPTH_EXCEEDED = 'max depth exceeded';

const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: z.string().refine(isDigest, 'is not a digest'),
  size: z.number().int().nonnegative(),
});

/** Where some content is and what it must be. */
export type Descriptor = z.infer<typeof descriptorSchema>;

const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema),
});

const indexSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z.array(
    descriptorSchema.extend({
      platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).optional(),
    }),
  ),
});

/** A manifest or an index. */
export type Manifest =
  | { kind: 'image'; config: Descriptor; layers: Descriptor[] }
  | { kind: 'index'; manifests: (Descriptor & { platform?: Platform | undefined })[] };

/**
 * Parses what a registry gave for a manifest.
 * @param name for messages: the reference asked for
 * @throws unsupported for schema 1, foreign layers and things that are no images; invalid for anything malformed
 */
export function parseManifest(fetched: Pick<FetchedManifest, 'body' | 'mediaType'>, name: string): Manifest {
  const json = parseJson(fetched.body, 'manifest') as {
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
      return parseIndex(json);
    case DOCKER_MANIFEST:
    case OCI_MANIFEST:
      return parseImage(json, name);
    default:
      if (inside === undefined && json?.manifests !== undefined) return parseIndex(json);
      if (inside === undefined && json?.layers !== undefined) return parseImage(json, name);
      throw unsupported(`unsupported manifest media type "${inside ?? fetched.mediaType}"`);
  }
}

function parseImage(json: unknown, name: string): Manifest {
  const { config, layers } = check(manifestSchema, json, 'manifest');
  if (config.mediaType !== DOCKER_CONFIG && config.mediaType !== OCI_CONFIG) {
    throw unsupported(`Encountered remote "${config.mediaType}"(unknown) when fetching ${name}: it is not an image`);
  }
  for (const { mediaType } of layers) {
    if (isForeignLayer(mediaType)) {
      throw unsupported(`foreign layers (${mediaType}) are not supported: their content is not in the registry`);
    }
    if (!isLayer(mediaType)) throw unsupported(`unsupported layer media type "${mediaType}"`);
  }
  return { kind: 'image', config, layers };
}

function parseIndex(json: unknown): Manifest {
  const { manifests } = check(indexSchema, json, 'manifest list');
  return {
    kind: 'index',
    manifests: manifests.map(({ platform, ...descriptor }) => ({
      ...descriptor,
      platform: platform && platformOf(platform),
    })),
  };
}

/**
 * The entry of an index that fits best; the first of equals. Entries without a platform (and attestations, which have
 * `unknown/unknown`) are not images to run.
 * @throws notFound in Docker's words
 */
export function selectManifest(index: Manifest & { kind: 'index' }, wanted: Platform = DEFAULT_PLATFORM): Descriptor {
  let best: Descriptor | undefined;
  let bestMatch = 0;
  for (const entry of index.manifests) {
    const match = entry.platform ? platformMatch(wanted, entry.platform) : 0;
    if (match <= bestMatch) continue;
    best = entry;
    bestMatch = match;
  }
  if (best) return best;
  throw new CaissonError('notFound', `no matching manifest for ${formatPlatform(wanted)} in the manifest list entries`);
}

/** Go writes unset fields as null. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const strings = z.array(z.string());
const nanoseconds = z.number().int();

const healthcheckSchema = z.object({
  Test: optional(strings),
  Interval: optional(nanoseconds),
  Timeout: optional(nanoseconds),
  StartPeriod: optional(nanoseconds),
  Retries: optional(z.number().int()),
});

/** A set, in Go's JSON: `{"80/tcp": {}}`. */
const setSchema = z
  .record(z.string(), z.unknown())
  .transform((set): Record<string, object> => Object.fromEntries(Object.keys(set).map((key) => [key, {}])));

const runConfigSchema = z.object({
  User: optional(z.string()),
  ExposedPorts: optional(setSchema),
  Env: optional(strings),
  Entrypoint: strings.nullish(),
  Cmd: strings.nullish(),
  Volumes: optional(setSchema),
  WorkingDir: optional(z.string()),
  Labels: optional(z.record(z.string(), z.string())),
  StopSignal: optional(z.string()),
  Healthcheck: optional(healthcheckSchema),
  Shell: optional(strings),
  ArgsEscaped: optional(z.boolean()),
  OnBuild: optional(strings),
});

const historySchema = z.object({
  created: optional(z.string()),
  created_by: optional(z.string()),
  author: optional(z.string()),
  comment: optional(z.string()),
  empty_layer: optional(z.boolean()),
});

const sha256Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);

const configSchema = z.object({
  created: optional(z.string()),
  author: optional(z.string()),
  parent: optional(z.string()),
  architecture: z.string(),
  os: z.string(),
  variant: optional(z.string()),
  config: runConfigSchema.nullish().transform((value) => value ?? {}),
  rootfs: z.object({
    type: z.literal('layers'),
    diff_ids: z
      .array(sha256Digest)
      .nullish()
      .transform((value) => value ?? []),
  }),
  history: optional(z.array(historySchema)),
});

/**
 * Parses an image's configuration (image-spec config.md).
 * @throws invalid
 */
export function parseConfig(body: Buffer): ImageConfig {
  return check(configSchema, parseJson(body, 'image configuration'), 'image configuration') as ImageConfig;
}

function parseJson(body: Buffer, what: string): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw invalid(`invalid ${what}: not JSON`, error);
  }
}

function check<T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw invalid(`invalid ${what}: ${issue.path.join('.') || 'document'}: ${issue.message}`);
}
