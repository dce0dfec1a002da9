/** The manifest that a push ends with. */
import { z } from 'zod';
import type { KeyValueStore } from '../../../port-layer/index.js';
import { manifestKey } from '../image-store.js';
import { type Descriptor, parseManifest } from '../manifest.js';
import { DOCKER_CONFIG, DOCKER_MANIFEST } from '../media-types.js';

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

/** The pulled manifest, if it names exactly these blobs; otherwise one of Docker's, which is what Docker pushes. */
export function manifestFor(
  pulled: RawManifest | null,
  config: { digest: string; size: number },
  layers: Descriptor[],
): RawManifest {
  return pulled !== null && names(pulled, config.digest, layers) ? pulled : dockerManifest(config, layers);
}

function names(manifest: RawManifest, config: string, layers: Descriptor[]): boolean {
  try {
    const parts = parseManifest(manifest, '');
    if (parts.kind !== 'image' || parts.config.digest !== config || parts.layers.length !== layers.length) return false;
    return parts.layers.every(({ digest }, index) => digest === layers[index]!.digest);
  } catch {
    return false;
  }
}

/** Formatted as Docker does, so that the same blobs give the same digest. */
function dockerManifest(config: { digest: string; size: number }, layers: Descriptor[]): RawManifest {
  const manifest = {
    schemaVersion: 2,
    mediaType: DOCKER_MANIFEST,
    config: { mediaType: DOCKER_CONFIG, size: config.size, digest: config.digest },
    layers: layers.map(({ digest, size, mediaType }) => ({ mediaType, size, digest })),
  };
  return { mediaType: DOCKER_MANIFEST, body: Buffer.from(JSON.stringify(manifest, null, 3)) };
}
