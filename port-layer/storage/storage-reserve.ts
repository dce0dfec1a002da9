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
  /** How many bytes images, containers and volumes may take together; Infinity: no limit. */
  storageQuota: number;
}

/** What is on the datastore, in bytes. */
export interface StorageUsage {
  images: number;
  /** The files of containers' VMs. */
  containers: number;
  /** The files of volumes, which grow with what is in them. */
  volumes: number;
}

export interface Space {
  capacity: number;
  free: number;
}

/** `5%`, `2GiB`, `500m`, `0`. @throws invalid */
export function parseReserve(text: string): (capacity: number) => number {
  const percent = /^(\d{1,2}(?:\.\d+)?)\s*%$/.exec(text);
  if (percent !== null) return (capacity) => (capacity * Number(percent[1])) / 100;
  const size = bytesOf(text);
  if (size === null) throw new PortLayerError('storage.badReserve', { text });
  return () => size;
}

/** `20GiB`, `500m`. @throws invalid */
export function parseQuota(text: string): number {
  const size = bytesOf(text);
  if (size === null || size === 0) throw new PortLayerError('storage.badQuota', { text });
  return size;
}

/** Null for what is no size. */
function bytesOf(text: string): number | null {
  const bytes = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  return bytes === null ? null : Number(bytes[1]) * UNITS[bytes[2]!.toLowerCase()]!;
}

/** @param storage of `VchConfig` */
export function storageLimits(
  storage: { reserve?: string | undefined; imageQuotaGiB?: number | undefined; quota?: string | undefined } = {},
): StorageLimits {
  const { reserve, imageQuotaGiB, quota } = storage;
  return {
    reserveOf:
      reserve === undefined ? (capacity) => Math.min(capacity * DEFAULT_PART, DEFAULT_MOST) : parseReserve(reserve),
    imageQuota: imageQuotaGiB === undefined ? Number.POSITIVE_INFINITY : imageQuotaGiB * 2 ** 30,
    storageQuota: quota === undefined ? Number.POSITIVE_INFINITY : parseQuota(quota),
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
   * @param others how much everything else takes; only asked for if there is a quota for all
   */
  constructor(
    private readonly places: Record<string, () => Promise<Space>>,
    private readonly limits: StorageLimits,
    private readonly imageBytes: () => number = () => 0,
    private readonly others: () => Promise<Omit<StorageUsage, 'images'>> = async () => ({ containers: 0, volumes: 0 }),
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

  /** How much everything takes, and how much it may; null if there is no limit. */
  async storageQuota(): Promise<(StorageUsage & { most: number }) | null> {
    const { storageQuota: most } = this.limits;
    if (most === Number.POSITIVE_INFINITY) return null;
    return { ...(await this.others()), images: this.imageBytes(), most };
  }

  /** @throws insufficientResources unless everything together may take so many more bytes */
  async checkStorageQuota(bytes: number): Promise<void> {
    const quota = await this.storageQuota();
    if (quota === null) return;
    const used = quota.images + quota.containers + quota.volumes;
    if (used + bytes > quota.most)
      throw this.refused(new PortLayerError('storage.allQuota', { most: quota.most, used, wanted: bytes }));
  }

  private refused(error: PortLayerError): Error {
    const { message } = error;
    this.lastRefused = { at: new Date(), message };
    log.warn({ message }, 'refused, to keep room free');
    return error;
  }

  /** For something that grows. @param image it is part of an image, so the quotas apply too */
  growing(image: boolean): Grow {
    let [written, looked] = [0, 0];
    return async (bytes) => {
      written += bytes;
      if (written - looked < STEP) return;
      looked = written;
      if (image) {
        this.checkQuota(written);
        await this.checkStorageQuota(written);
      }
      await this.check(STEP);
    };
  }
}

/** Turns the system's error for a full filesystem into ours; returns other errors unchanged. */
export function withoutRoom(error: unknown): unknown {
  const code = errnoOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT' ? new PortLayerError('storage.full', {}, error) : error;
}
