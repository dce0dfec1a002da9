/**
 * An image as it leaves the engine. Layers leave as they came; those that an earlier version stored, whose tars are not known, are read
 * back from their disks as new ones. With their digests the configuration changes, and so the image's id: elsewhere it is another image.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { sha256, shortId } from '../../src/common/ids.js';
import { parseConfig } from './image-config.js';
import { spoolTar } from './spool-tar.js';
import type { Image } from './types.js';
import type { ImageWork } from './work.js';

/** Layers' tars, by chain id. */
export interface LayerTars {
  /** Bytes. */
  tarSize(chainId: string): number;
  tar(chainId: string, signal?: AbortSignal): Promise<Readable>;
}

/** A layer that was read back, in a local file. */
interface NewLayer {
  path: string;
  diffId: string;
  size: number;
}

/** For one push or archive; must be closed. */
export class LeavingImages implements LayerTars {
  readonly #new = new Map<string, NewLayer>();

  constructor(
    private readonly work: Pick<ImageWork, 'layers' | 'spoolDir' | 'room'>,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * The image, with new digests where a layer's tar is new. Its chain ids stay those of the store.
   * @param said called with each new digest's layer
   * @throws insufficientResources, cancelled, unavailable
   */
  async of(image: Image, said: (diffId: string, newDiffId: string) => void = () => undefined): Promise<Image> {
    const old = image.config.rootfs.diff_ids;
    const diffIds: string[] = [];
    for (const [index, chainId] of image.chainIds.entries()) {
      if (this.work.layers.tarSize(chainId) !== null) diffIds.push(old[index]!);
      else {
        const { diffId } = await this.#readBack(chainId);
        said(old[index]!, diffId);
        diffIds.push(diffId);
      }
    }
    if (diffIds.every((diffId, index) => diffId === old[index])) return image;
    const document = JSON.parse(image.rawConfig.toString('utf8')) as { rootfs: object };
    const rootfs = { ...document.rootfs, diff_ids: diffIds };
    const rawConfig = Buffer.from(JSON.stringify({ ...document, rootfs }));
    return { ...image, id: `sha256:${sha256(rawConfig)}`, rawConfig, config: parseConfig(rawConfig) };
  }

  async #readBack(chainId: string): Promise<NewLayer> {
    const known = this.#new.get(chainId);
    if (known !== undefined) return known;
    const { layers, spoolDir, room } = this.work;
    const path = join(spoolDir, `new-${shortId(chainId)}-${randomBytes(6).toString('hex')}.tar`);
    try {
      const tar = await layers.newTar(chainId, this.signal);
      const layer = { path, ...(await spoolTar(tar, path, room?.growing(false), this.signal)) };
      this.#new.set(chainId, layer);
      return layer;
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  tarSize(chainId: string): number {
    const size = this.#new.get(chainId)?.size ?? this.work.layers.tarSize(chainId);
    if (size === null) throw new Error('of() comes first');
    return size;
  }

  async tar(chainId: string, signal?: AbortSignal): Promise<Readable> {
    const layer = this.#new.get(chainId);
    if (layer === undefined) return this.work.layers.tar(chainId, signal);
    return createReadStream(layer.path, { highWaterMark: 256 * 1024 });
  }

  async close(): Promise<void> {
    for (const { path } of this.#new.values()) await rm(path, { force: true });
    this.#new.clear();
  }
}
