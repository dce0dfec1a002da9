/** The images that an archive says it has: Docker's `manifest.json`, or else the index of an OCI layout. */
import { z } from 'zod';
import { invalid } from '../../../src/common/errors.js';
import { GoJsonError, goType, readGoJson } from '../../../src/common/go-json.js';
import { checkImage, type Manifest, parseManifest } from '../manifest.js';
import { formatPlatform, hostPlatform, type Platform, platformMatch, platformOf } from '../platform.js';
import { isDigest } from '../reference.js';
import { digestLike } from '../registry-client.js';
import type { ArchivedImage } from './archived-image.js';
import { legacyImages } from './legacy-images.js';
import type { ArchiveMembers } from './members.js';

type ImageManifest = Manifest & { kind: 'image' };

const DOCUMENT_MAX = 16 * 1024 * 1024;
/** Images and tags together. */
const IMAGES_MAX = 10_000;
/** How deep indexes may be nested. */
const INDEX_DEPTH = 4;
/** How well an entry without a platform fits: worse than any that names a suitable one. */
const UNNAMED = 0.1;

const list = z.array(z.string()).nullish();
/** moby `image/tarexport/tarexport.go`, `manifestItem`. */
const manifestSchema = goType(
  'tarexport.manifestItem',
  z.array(
    z.object({ Config: z.string().nullish(), RepoTags: list, Layers: list, Parent: z.string().nullish() }).nullable(),
  ),
);

/** image-spec image-index.md; what is needed to choose and name images. */
const indexSchema = z.object({
  manifests: z.array(
    z.object({
      digest: z.string().refine(isDigest),
      platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
      annotations: z.record(z.string(), z.string()).nullish(),
    }),
  ),
});
type IndexEntry = z.infer<typeof indexSchema>['manifests'][number];

/** The name of an image in an OCI layout: containerd's, which is whole, or the tag (image-spec annotations.md), which some tools make a whole name. */
const NAME = 'io.containerd.image.name';
const REF_NAME = 'org.opencontainers.image.ref.name';

/**
 * @param platform which image to take of those that differ only in that; the default is the host's
 * @throws invalid, unsupported; notFound for files that are missing; cancelled
 */
export async function imagesIn(
  members: ArchiveMembers,
  platform?: Platform,
  signal?: AbortSignal,
): Promise<ArchivedImage[]> {
  const images = await allImages(members, platform, signal);
  if (images.reduce((sum, { tags }) => sum + 1 + tags.length, 0) > IMAGES_MAX)
    throw invalid(`the archive has more than ${IMAGES_MAX} images and tags`);
  return images;
}

async function allImages(
  members: ArchiveMembers,
  platform: Platform | undefined,
  signal: AbortSignal | undefined,
): Promise<ArchivedImage[]> {
  if (members.find('manifest.json') !== null) return dockerImages(members);
  if (members.find('index.json') !== null) return ociImages(members, platform ?? hostPlatform());
  if (members.names().some((name) => name.endsWith('/layer.tar'))) return legacyImages(members, signal);
  throw invalid('the archive has no image: there is neither a manifest.json nor an index.json in it');
}

async function dockerImages(members: ArchiveMembers): Promise<ArchivedImage[]> {
  const text = (await members.text('manifest.json', DOCUMENT_MAX)).toString('utf8');
  try {
    return (readGoJson(text, manifestSchema) ?? []).map((item) => ({
      config: { file: item?.Config ?? '' },
      layers: item?.Layers ?? [],
      tags: item?.RepoTags ?? [],
      ...(item?.Parent ? { parent: item.Parent } : {}),
    }));
  } catch (error) {
    if (error instanceof GoJsonError) throw invalid(error.message, error);
    throw error;
  }
}

async function ociImages(members: ArchiveMembers, platform: Platform): Promise<ArchivedImage[]> {
  const groups = new Map<string, IndexEntry[]>();
  for (const entry of readIndex(await members.text('index.json', DOCUMENT_MAX))) {
    const group = nameOf(entry) ?? entry.digest;
    const others = groups.get(group);
    if (others === undefined) groups.set(group, [entry]);
    else others.push(entry);
  }
  const byConfig = new Map<string, ArchivedImage>();
  for (const entries of groups.values()) {
    const chosen = choose(members, entries, platform);
    const manifest = chosen && (await manifestOf(members, chosen.digest, platform, 0));
    if (manifest === null) continue;
    checkImage(manifest);
    const name = nameOf(chosen!);
    const known = byConfig.get(manifest.config.digest);
    if (known !== undefined) known.tags.push(...(name === null ? [] : [name]));
    else byConfig.set(manifest.config.digest, archived(manifest, name));
  }
  if (byConfig.size === 0) throw invalid(`the archive has no image for ${formatPlatform(platform)}`);
  return [...byConfig.values()];
}

const archived = (manifest: ImageManifest, name: string | null): ArchivedImage => ({
  config: { file: blobName(manifest.config.digest) },
  layers: manifest.layers.map(({ digest }) => blobName(digest)),
  tags: name === null ? [] : [name],
});

function readIndex(text: Buffer): IndexEntry[] {
  try {
    return indexSchema.parse(JSON.parse(text.toString('utf8'))).manifests;
  } catch (error) {
    throw invalid('the index.json in the archive is not an OCI index', error);
  }
}

/** The image's manifest of that digest, or of what an index of that digest names; null if it is not in the archive. */
async function manifestOf(
  members: ArchiveMembers,
  digest: string,
  platform: Platform,
  depth: number,
): Promise<ImageManifest | null> {
  if (depth > INDEX_DEPTH) throw invalid('the indexes in the archive are nested too deeply');
  const body = await members.text(blobName(digest), DOCUMENT_MAX);
  if (digestLike(digest, body) !== digest) throw invalid(`${digest} in the archive is damaged`);
  const manifest = parseManifest({ mediaType: '', body }, digest);
  if (manifest.kind === 'image') return manifest;
  const chosen = choose(members, manifest.manifests, platform);
  return chosen === null ? null : manifestOf(members, chosen.digest, platform, depth + 1);
}

/** The entry that fits best, of those that are in the archive: what is for other platforms may be left out. A single one always fits. */
function choose<T extends { digest: string; platform?: Parameters<typeof platformOf>[0] | undefined }>(
  members: ArchiveMembers,
  entries: T[],
  platform: Platform,
): T | null {
  const here = entries.filter(({ digest }) => members.find(blobName(digest)) !== null);
  if (entries.length === 1) return here[0] ?? null;
  const suits = (entry: T): number =>
    entry.platform === undefined ? UNNAMED : platformMatch(platform, platformOf(entry.platform));
  const best = Math.max(0, ...here.map(suits));
  return best === 0 ? null : (here.find((entry) => suits(entry) === best) ?? null);
}

const blobName = (digest: string): string => `blobs/${digest.replace(':', '/')}`;

/** The name of an image, if its annotations have a whole one; a bare tag is none. */
function nameOf({ annotations }: IndexEntry): string | null {
  const name = annotations?.[NAME] ?? annotations?.[REF_NAME] ?? '';
  return /[/:]/.test(name) ? name : null;
}
