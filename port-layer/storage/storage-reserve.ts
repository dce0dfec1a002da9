/**
 * Room that is kept free: what images, volumes and copies would take of it is refused, so that containers that run can go on writing, and
 * the engine can keep what it has to. Looked at before something is written, and while it is: a megabyte of an image can become a gigabyte.
 */
import { statfs } from 'node:fs/promises';
import { errnoOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { PortLayerError } from '../errors.js';

const log = logger('storage');
/** Kept unless configured: a part of the filesystem, but no more than so much. */
const DEFAULT_PART = 0.05;
const DEFAULT_MOST = 2 * 2 ** 30;
/** While something grows, the room is looked at whenever so much was written. */
const STEP = 16 << 20;

const UNITS: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** What may be used. */
export interface StorageLimits {
  /** Kept free of a filesystem of so many bytes. */
  reserveOf(capacity: number): number;
  /** Bytes that all images may take; Infinity: no bound. */
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

/** What is being written is to have so many bytes more. @throws insufficientResources */
export type Grow = (bytes: number) => Promise<void>;

export class StorageReserve {
  /** When, and in which words, something was last refused. */
  lastRefused: { at: Date; message: string } | null = null;

  /**
   * @param places where something is written to on its way, and where to: both need room
   * @param imageBytes what the images take
   */
  constructor(
    private readonly places: Record<string, () => Promise<Space>>,
    private readonly limits: StorageLimits,
    private readonly imageBytes: () => number = () => 0,
  ) {}

  /** The room there is, for each place. */
  async space(): Promise<{ place: string; capacity: number; free: number; reserve: number }[]> {
    return Promise.all(
      Object.entries(this.places).map(async ([place, look]) => {
        const { capacity, free } = await look();
        return { place, capacity, free, reserve: this.limits.reserveOf(capacity) };
      }),
    );
  }

  /** @throws insufficientResources unless there is room for so many bytes, in each place */
  async check(bytes: number): Promise<void> {
    for (const { place, free, reserve } of await this.space())
      if (free - reserve < bytes) throw this.refused(new PortLayerError('storage.reserved', { place, free, reserve }));
  }

  /** What images take of what they may; null: there is no bound. */
  get quota(): { used: number; most: number } | null {
    const { imageQuota: most } = this.limits;
    return most === Number.POSITIVE_INFINITY ? null : { used: this.imageBytes(), most };
  }

  /** @throws insufficientResources unless images may take so many bytes more */
  checkQuota(bytes: number): void {
    const { imageQuota } = this.limits;
    if (this.imageBytes() + bytes > imageQuota)
      throw this.refused(new PortLayerError('storage.quota', { most: imageQuota }));
  }

  private refused(error: PortLayerError): Error {
    const { message } = error;
    this.lastRefused = { at: new Date(), message };
    log.warn({ message }, 'refused, to keep room free');
    return error;
  }

  /** For something that grows. @param image it is a part of an image: the quota counts too */
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

/** The system's word for a full filesystem, as an error of ours; others as they are. */
export function withoutRoom(error: unknown): unknown {
  const code = errnoOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT' ? new PortLayerError('storage.full', {}, error) : error;
}
