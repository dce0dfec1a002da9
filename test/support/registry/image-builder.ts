/** Builds images — blobs, configuration, manifest — from the tars of their layers, without any container tool. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { ImageConfig } from '../../../appliance/image/types.js';

/** How a layer's blob is compressed. `zstd-raw`: Zstandard frames that store without compressing; needs no program. */
export type LayerCompression = 'gzip' | 'zstd' | 'none';

export interface ImageSpec {
  layers: (Buffer | { tar: Buffer; blob: Buffer })[];
  compression?: LayerCompression;
  config?: ImageConfig['config'];
  architecture?: string;
  variant?: string;
  os?: string;
  /** Default OCI. */
  format?: 'oci' | 'docker';
}

export interface BuiltManifest {
  mediaType: string;
  body: Buffer;
  digest: string;
}

/** Everything a registry must hold for an image. */
export interface BuiltImage {
  /** What a tag points at: the manifest or the index. */
  top: BuiltManifest;
  /** Manifests below an index. */
  manifests: BuiltManifest[];
  blobs: Map<string, Buffer>;
  platform: { os: string; architecture: string; variant?: string };
  /** `sha256:…` of the configuration; of the first image of an index. */
  id: string;
}

export const digestOf = (data: Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;

const TYPES = {
  oci: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    index: 'application/vnd.oci.image.index.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar',
    suffix: { gzip: '+gzip', zstd: '+zstd', none: '' },
  },
  docker: {
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar',
    suffix: { gzip: '.gzip', zstd: '.zstd', none: '' },
  },
};

/** Stores `data` as a Zstandard frame of raw blocks (RFC 8878): valid, but not compressed. */
export function zstdStore(data: Buffer): Buffer {
  const blockMax = 128 * 1024;
  // No checksum, no content size, window of 1 MiB: descriptor 0, exponent 10.
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3])];
  for (let at = 0; at === 0 || at < data.length; at += blockMax) {
    const block = data.subarray(at, at + blockMax);
    const header = Buffer.alloc(3);
    header.writeUIntLE((block.length << 3) | (at + blockMax >= data.length ? 1 : 0), 0, 3);
    parts.push(header, block);
  }
  return Buffer.concat(parts);
}

/** Compresses with the `zstd` program if there is one. */
export function zstdCompress(data: Buffer, args: string[] = ['-3']): Buffer {
  try {
    return execFileSync('zstd', ['-q', '-c', ...args], {
      input: data,
      maxBuffer: 1 << 30,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
  } catch {
    return zstdStore(data);
  }
}

function compressLayer(tar: Buffer, compression: LayerCompression): Buffer {
  if (compression === 'gzip') return gzipSync(tar, { level: 6 });
  return compression === 'zstd' ? zstdCompress(tar) : tar;
}

/** Builds an image of one platform. */
export function buildImage(spec: ImageSpec): BuiltImage {
  const types = TYPES[spec.format ?? 'oci'];
  const compression = spec.compression ?? 'gzip';
  const blobs = new Map<string, Buffer>();
  const put = (data: Buffer, mediaType: string) => {
    const digest = digestOf(data);
    blobs.set(digest, data);
    return { mediaType, digest, size: data.length };
  };
  const tars = spec.layers.map((layer) => (Buffer.isBuffer(layer) ? layer : layer.tar));
  const layers = spec.layers.map((layer) =>
    put(
      Buffer.isBuffer(layer) ? compressLayer(layer, compression) : layer.blob,
      types.layer + types.suffix[compression],
    ),
  );
  const platform = {
    os: spec.os ?? 'linux',
    architecture: spec.architecture ?? 'amd64',
    ...(spec.variant ? { variant: spec.variant } : {}),
  };
  const config = Buffer.from(
    JSON.stringify({
      ...platform,
      created: '2026-01-02T03:04:05.000000006Z',
      author: 'caisson tests',
      config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], ...spec.config },
      rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
      history: tars.map((_, index) => ({ created: '2026-01-02T03:04:05Z', created_by: `layer ${index}` })),
    }),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: put(config, types.config),
    layers,
  };
  const body = Buffer.from(JSON.stringify(manifest));
  const top = { mediaType: types.manifest, body, digest: digestOf(body) };
  return { top, manifests: [], blobs, platform, id: digestOf(config) };
}

/** An index (or, for Docker's format, a manifest list) over images. */
export function buildIndex(images: BuiltImage[], format: 'oci' | 'docker' = 'oci'): BuiltImage {
  const mediaType = TYPES[format].index;
  const entries = images.map(({ top, platform }) => ({
    mediaType: top.mediaType,
    digest: top.digest,
    size: top.body.length,
    platform,
  }));
  const body = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests: entries }));
  return {
    ...images[0]!,
    top: { mediaType, body, digest: digestOf(body) },
    manifests: images.map(({ top }) => top),
    blobs: new Map(images.flatMap(({ blobs }) => [...blobs])),
  };
}
