/**
 * Space that is kept free. Images, volumes and copies that would use it up are refused, so that running containers can go on writing and
 * the engine can store what it must. It is checked before something is written and also meanwhile: a megabyte of an image can become a
 * gigabyte.
 */
import { statfs } from 'node:fs/promises';
import { errnoOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { PortLayerError } from '../errors.js';

const log = logger('storage');
/** Kept free by default: a part of the filesystem, up to a limit. */
const DEFAULT_PART = 0.05;
const DEFAULT_MOST = 2 * 2 ** 30;
/** While something grows, the space is checked each time this much was written. */
const STEP = 16 << 20;

const UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** What may be used. */
export interface StorageLimits {
  /** How many bytes to keep free of a filesystem of this capacity. */
  reserveOf(capacity: number): number;
  /** How many bytes all images may take; Infinity: no limit. */
  imageQuota: number;
}

export interface Space {
  capacity: number;
  free: number;
}

/** `5%`, `2GiB`, `500m`, `0`. @throws invalid */
export function parseReserve(text: string): (capacity: number) => number {
  const percent = /^(\d{1,2}(?:\.\d+)?)\s*%$/.exec(text);
  if (percent !== null) return (capacity) => (capacity * Number(percent[1])) / 100;
  const bytes = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  if (bytes === null) throw new PortLayerError('storage.badReserve', { text });
  const size = Number(bytes[1]) * UNITS[bytes[2]!.toLowerCase()]!;
  return () => size;
}

/** @param storage of `VchConfig` */
export function storageLimits(
  storage: { reserve?: string | undefined; imageQuotaGiB?: number | undefined } = {},
): StorageLimits {
  const { reserve, imageQuotaGiB } = storage;
  return {
    reserveOf:
      reserve === undefined ? (capacity) => Math.min(capacity * DEFAULT_PART, DEFAULT_MOST) : parseReserve(reserve),
    imageQuota: imageQuotaGiB === undefined ? Number.POSITIVE_INFINITY : imageQuotaGiB * 2 ** 30,
  };
}

/** The space of the filesystem that a local path is on. */
export async function localSpace(path: string): Promise<Space> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { capacity: bsize * blocks, free: bsize * bavail };
}

/** Must be called before the data being written grows by so many bytes. @throws insufficientResources */
export type Grow = (bytes: number) => Promise<void>;

export class StorageReserve {
  /** When something was last refused, and the message. */
  lastRefused: { at: Date; message: string } | null = null;

  /**
   * @param places where data is written, on its way and in the end: all need space
   * @param imageBytes how much the images take
   */
  constructor(
    private readonly places: Record<string, () => Promise<Space>>,
    private readonly limits: StorageLimits,
    private readonly imageBytes: () => number = () => 0,
  ) {}

  /** The space in each place. */
  async space(): Promise<{ place: string; capacity: number; free: number; reserve: number }[]> {
    return Promise.all(
      Object.entries(this.places).map(async ([place, look]) => {
        const { capacity, free } = await look();
        return { place, capacity, free, reserve: this.limits.reserveOf(capacity) };
      }),
    );
  }

  /** @throws insufficientResources unless each place has room for so many bytes */
  async check(bytes: number): Promise<void> {
    for (const { place, free, reserve } of await this.space())
      if (free - reserve < bytes) throw this.refused(new PortLayerError('storage.reserved', { place, free, reserve }));
  }

  /** How much images take, and how much they may; null if there is no limit. */
  get quota(): { used: number; most: number } | null {
    const { imageQuota: most } = this.limits;
    return most === Number.POSITIVE_INFINITY ? null : { used: this.imageBytes(), most };
  }

  /** @throws insufficientResources unless images may take so many more bytes */
  checkQuota(bytes: number): void {
    const { imageQuota } = this.limits;
    if (this.imageBytes() + bytes > imageQuota)
      throw this.refused(new PortLayerError('storage.quota', { most: imageQuota }));
  }

  /** For an image's layer, whose files have so many bytes so far. Nothing where there is no quota. */
  claiming(): ((size: number) => void) | undefined {
    if (this.quota === null) return undefined;
    let looked = 0;
    return (size) => {
      if (size - looked < STEP) return;
      looked = size;
      this.checkQuota(size);
    };
  }

  private refused(error: PortLayerError): Error {
    const { message } = error;
    this.lastRefused = { at: new Date(), message };
    log.warn({ message }, 'refused, to keep room free');
    return error;
  }

  /** For something that grows. @param image it is part of an image, so the quota applies too */
  growing(image: boolean): Grow {
    let [written, looked] = [0, 0];
    return async (bytes) => {
      written += bytes;
      if (written - looked < STEP) return;
      looked = written;
      if (image) this.checkQuota(written);
      await this.check(STEP);
    };
  }
}

/** Turns the system's error for a full filesystem into ours; returns other errors unchanged. */
export function withoutRoom(error: unknown): unknown {
  const code = errnoOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT' ? new PortLayerError('storage.full', {}, error) : error;
}
