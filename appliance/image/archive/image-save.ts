/**
 * Saves images to an archive (`docker save`), in the form that Docker writes since 25: an OCI image layout (image-spec image-layout.md)
 * that also has the `manifest.json` and `repositories` which earlier versions read (moby `image/tarexport/save.go`).
 */
import { TAR_END, tarHeader, tarPadding } from '../../../port-layer/index.js';
import { CaissonError, notFound } from '../../../src/common/errors.js';
import { sha256 } from '../../../src/common/ids.js';
import type { ImageStore } from '../image-store.js';
import type { LayerTars } from '../leaving-image.js';
import { formatPlatform, type Platform, platformMatch, platformOf } from '../platform.js';
import { canonicalString, familiarName, familiarString, parseAnyReference, type Reference } from '../reference.js';
import type { Image } from '../types.js';

const OCI = 'application/vnd.oci.image';
const LAYER_TYPE = `${OCI}.layer.v1.tar`;

/** An image and the tags under which it is saved. */
export interface SavedImage {
  image: Image;
  tags: Reference[];
}

/**
 * The images that names mean: one tag, all tags of a repository, or an image by id, which then has no name in the archive.
 * @throws notFound, invalid in Docker's words; unavailable for an image of another platform
 */
export function imagesNamed(store: ImageStore, names: string[], platform?: Platform): SavedImage[] {
  const byId = new Map<string, SavedImage>();
  const add = (id: string, tag: Reference | null): void => {
    const known = byId.get(id) ?? { image: store.get(id)!, tags: [] };
    byId.set(id, known);
    const name = tag === null ? '' : familiarString(tag);
    if (tag !== null && !known.tags.some((one) => familiarString(one) === name)) known.tags.push(tag);
  };
  for (const name of names) for (const [id, tag] of meantBy(store, name)) add(id, tag);
  const saved = [...byId.values()];
  for (const { image } of saved)
    if (platform !== undefined && platformMatch(platform, platformOf(image.config)) === 0)
      throw new CaissonError('unavailable', `no suitable export target found for platform ${formatPlatform(platform)}`);
  return saved;
}

function meantBy(store: ImageStore, name: string): [id: string, tag: Reference | null][] {
  const any = parseAnyReference(name);
  if (any.kind === 'id') return [[store.resolve(name).id, null]];
  const { reference } = any;
  if (reference.digest !== undefined || reference.tag !== undefined) {
    const id = store.idOf(reference);
    if (id === undefined) throw notFound('reference does not exist');
    return [[id, reference.digest === undefined ? reference : null]];
  }
  const repository = familiarName(reference);
  const tags = store
    .list()
    .flatMap((image) => store.referencesTo(image.id).map((tag): [string, Reference] => [image.id, tag]))
    .filter(([, tag]) => tag.digest === undefined && familiarName(tag) === repository);
  return tags.length > 0 ? tags : [[byPrefix(store, name), null]];
}

function byPrefix(store: ImageStore, name: string): string {
  try {
    return store.resolve(name).id;
  } catch (error) {
    throw notFound(`No such image: ${name}`, error);
  }
}

/** A file of the archive. */
interface Entry {
  size: number;
  /** Seconds since 1970. */
  mtime: number;
  content: () => AsyncIterable<Buffer> | Iterable<Buffer>;
}

/** The archive, as a tar. */
export async function* archiveOf(saved: SavedImage[], layers: LayerTars, signal: AbortSignal): AsyncGenerator<Buffer> {
  const blobs = new Map<string, Entry>();
  const sizes = new Map<string, number>();
  for (const { image } of saved) {
    const mtime = Math.max(0, Math.floor((Date.parse(image.config.created ?? '') || 0) / 1000));
    for (const [index, chainId] of image.chainIds.entries()) {
      const diffId = image.config.rootfs.diff_ids[index]!;
      if (sizes.has(diffId)) continue;
      const size = layers.tarSize(chainId);
      sizes.set(diffId, size);
      blobs.set(hex(diffId), { size, mtime, content: () => tarOf(layers, chainId, signal) });
    }
    blobs.set(hex(image.id), entryOf(image.rawConfig, mtime));
  }
  const described = saved.map((one) => ({ ...one, manifest: manifestOf(one.image, sizes) }));
  for (const { manifest } of described) blobs.set(sha256(manifest), entryOf(manifest));
  if (blobs.size > 0) for (const name of ['blobs/', 'blobs/sha256/']) yield directory(name);
  for (const [name, entry] of [...blobs].sort(([a], [b]) => (a < b ? -1 : 1)))
    yield* file(`blobs/sha256/${name}`, entry);
  yield* file('index.json', entryOf(indexOf(described)));
  yield* file('manifest.json', entryOf(manifestJson(saved, sizes)));
  yield* file('oci-layout', entryOf(Buffer.from('{"imageLayoutVersion": "1.0.0"}')));
  const repositories = repositoriesOf(saved);
  if (repositories !== null) yield* file('repositories', entryOf(repositories));
  yield TAR_END;
}

async function* tarOf(layers: LayerTars, chainId: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  for await (const part of await layers.tar(chainId, signal)) yield part as Buffer;
}

const hex = (digest: string): string => digest.slice(digest.indexOf(':') + 1);
const entryOf = (bytes: Buffer, mtime = 0): Entry => ({ size: bytes.length, mtime, content: () => [bytes] });
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
/** Docker ends some of its files with a newline, and others not. */
const line = (value: unknown): Buffer => Buffer.concat([json(value), Buffer.from('\n')]);

function directory(name: string): Buffer {
  return tarHeader({ type: '5', name, mode: 0o755, uid: 0, gid: 0, mtime: 0 });
}

async function* file(name: string, { size, mtime, content }: Entry): AsyncGenerator<Buffer> {
  yield tarHeader({ type: '0', name, mode: 0o644, uid: 0, gid: 0, size, mtime });
  yield* content();
  yield tarPadding(size);
}

/** Docker writes the same bytes, so the digest is the same too. */
function manifestOf(image: Image, sizes: ReadonlyMap<string, number>): Buffer {
  return json({
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config: { mediaType: `${OCI}.config.v1+json`, digest: image.id, size: image.rawConfig.length },
    layers: image.config.rootfs.diff_ids.map((digest) => layerDescriptor(digest, sizes)),
  });
}

const layerDescriptor = (digest: string, sizes: ReadonlyMap<string, number>) => ({
  mediaType: LAYER_TYPE,
  digest,
  size: sizes.get(digest)!,
});

function indexOf(described: (SavedImage & { manifest: Buffer })[]): Buffer {
  const manifests = described.flatMap(({ manifest, tags }) => {
    const entry = { mediaType: `${OCI}.manifest.v1+json`, digest: `sha256:${sha256(manifest)}`, size: manifest.length };
    if (tags.length === 0) return [entry];
    return tags.map((tag) => ({
      ...entry,
      annotations: { 'io.containerd.image.name': canonicalString(tag), 'org.opencontainers.image.ref.name': tag.tag },
    }));
  });
  return json({
    schemaVersion: 2,
    mediaType: `${OCI}.index.v1+json`,
    manifests: manifests.length === 0 ? null : manifests,
  });
}

function manifestJson(saved: SavedImage[], sizes: ReadonlyMap<string, number>): Buffer {
  const ids = new Set(saved.map(({ image }) => image.id));
  const items = saved.map(({ image, tags }) => {
    const { diff_ids: diffIds } = image.config.rootfs;
    const { parent } = image;
    return {
      Config: `blobs/sha256/${hex(image.id)}`,
      RepoTags: tags.length === 0 ? null : tags.map(familiarString),
      Layers: diffIds.map((digest) => `blobs/sha256/${hex(digest)}`),
      ...(parent !== null && ids.has(parent) ? { Parent: parent } : {}),
      LayerSources: Object.fromEntries(
        [...diffIds].sort().map((digest) => [digest, { mediaType: LAYER_TYPE, size: sizes.get(digest)!, digest }]),
      ),
    };
  });
  return line(items.length === 0 ? null : items);
}

/** By repository and tag, the uppermost layer; null if nothing has a tag. */
function repositoriesOf(saved: SavedImage[]): Buffer | null {
  const repositories = new Map<string, Record<string, string>>();
  for (const { image, tags } of saved) {
    const top = image.config.rootfs.diff_ids.at(-1);
    for (const tag of top === undefined ? [] : tags)
      repositories.set(familiarName(tag), { ...repositories.get(familiarName(tag)), [tag.tag!]: hex(top!) });
  }
  if (repositories.size === 0) return null;
  return line(Object.fromEntries([...repositories].sort(([a], [b]) => (a < b ? -1 : 1))));
}
