/** The manifest that a push ends with. */
import { z } from 'zod';
import type { KeyValueStore } from '../../../port-layer/index.js';
import { manifestKey } from '../image-store.js';
import { type Descriptor, parseManifest } from '../manifest.js';
import { DOCKER_CONFIG, DOCKER_MANIFEST, GZIP_LAYER, OCI_CONFIG, OCI_MANIFEST, ZSTD_LAYER } from '../media-types.js';

/** A manifest, byte for byte. */
export interface RawManifest {
  mediaType: string;
  body: Buffer;
}

const keptSchema = z.object({ mediaType: z.string(), body: z.base64() });

/** The manifests with which images were pulled, in the key-value store. With the same blobs, a push sends the same one again. */
export class PulledManifests {
  constructor(private readonly kv: KeyValueStore) {}

  /** The newest takes the place of an older one. */
  async keep(imageId: string, { mediaType, body }: RawManifest): Promise<void> {
    await this.kv.put(manifestKey(imageId), Buffer.from(JSON.stringify({ mediaType, body: body.toString('base64') })));
  }

  /** Null if there is none, or none that can be read: an image has other manifests too. */
  async of(imageId: string): Promise<RawManifest | null> {
    const data = await this.kv.get(manifestKey(imageId));
    const kept = data === undefined ? undefined : keptSchema.safeParse(parsed(data)).data;
    return kept === undefined ? null : { mediaType: kept.mediaType, body: Buffer.from(kept.body, 'base64') };
  }

  async forget(imageId: string): Promise<void> {
    await this.kv.delete(manifestKey(imageId));
  }
}

function parsed(data: Buffer): unknown {
  try {
    return JSON.parse(data.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** The layers' digests in a pulled manifest: with blobs of these digests, the image keeps its own. Empty if there is none. */
export function layerDigestsOf(pulled: RawManifest | null): string[] {
  return pulled === null ? [] : (partsOf(pulled)?.layers.map(({ digest }) => digest) ?? []);
}

/** The pulled manifest, if it names exactly these blobs; otherwise a new one. */
export function manifestFor(
  pulled: RawManifest | null,
  config: { digest: string; size: number },
  layers: Descriptor[],
): RawManifest {
  return pulled !== null && names(pulled, config.digest, layers) ? pulled : newManifest(config, layers);
}

function partsOf(manifest: RawManifest): { config: Descriptor; layers: Descriptor[] } | null {
  try {
    const parts = parseManifest(manifest, '');
    return parts.kind === 'image' ? parts : null;
  } catch {
    return null;
  }
}

function names(manifest: RawManifest, config: string, layers: Descriptor[]): boolean {
  const parts = partsOf(manifest);
  if (parts?.config.digest !== config || parts.layers.length !== layers.length) return false;
  return parts.layers.every(({ digest }, index) => digest === layers[index]!.digest);
}

const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';
const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar';
/** The types of layers in OCI's manifests, and the same in Docker's. */
const LAYER_TYPES: readonly [oci: string, docker: string][] = [
  [`${OCI_LAYER}+gzip`, GZIP_LAYER],
  [OCI_LAYER, DOCKER_LAYER],
];

/**
 * What Docker pushes, unless a layer is of a type that only OCI has. Formatted as Docker does, so that the same blobs give the same digest.
 */
function newManifest(config: { digest: string; size: number }, layers: Descriptor[]): RawManifest {
  const oci = layers.some(({ mediaType }) => mediaType === ZSTD_LAYER);
  const typeOf = (type: string): string =>
    oci
      ? (LAYER_TYPES.find(([, docker]) => docker === type)?.[0] ?? type)
      : (LAYER_TYPES.find(([of]) => of === type)?.[1] ?? type);
  const mediaType = oci ? OCI_MANIFEST : DOCKER_MANIFEST;
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: { mediaType: oci ? OCI_CONFIG : DOCKER_CONFIG, size: config.size, digest: config.digest },
    layers: layers.map((layer) => ({ mediaType: typeOf(layer.mediaType), size: layer.size, digest: layer.digest })),
  };
  return { mediaType, body: Buffer.from(JSON.stringify(manifest, null, 3)) };
}
