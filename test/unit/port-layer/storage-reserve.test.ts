/** Space that is kept free: checked before and during writes. */
import { describe, expect, it } from 'vitest';
import { parseReserve, StorageReserve, storageLimits } from '../../../port-layer/storage/storage-reserve.js';

const GB = 1e9;

describe('the reserve', () => {
  it.each([
    ['5%', 5 * GB],
    ['12.5 %', 12.5 * GB],
    ['0', 0],
    ['512m', 2 ** 29],
    ['2GiB', 2 ** 31],
    ['2gb', 2 ** 31],
  ])('%s of 100 GB', (text, bytes) => {
    expect(parseReserve(text)(100 * GB)).toBe(bytes);
  });

  it.each(['', '-1', '5', 'x', '100%', '5%%', '1e9'].filter((text) => text !== '5'))('is not %j', (text) => {
    expect(() => parseReserve(text)).toThrow('is no part of a filesystem and no size');
  });

  it('is 5 % unless configured, and at most 2 GiB', () => {
    expect(storageLimits().reserveOf(10 * GB)).toBe(GB / 2);
    expect(storageLimits().reserveOf(1000 * GB)).toBe(2 ** 31);
    expect(storageLimits({ reserve: '10%' }).reserveOf(1000 * GB)).toBe(100 * GB);
  });
});

/** One filesystem of 10 GB with the given free space. */
function reserveOf(free: () => number, limits = storageLimits(), images = 0): StorageReserve {
  return new StorageReserve({ '[store]': async () => ({ capacity: 10 * GB, free: free() }) }, limits, () => images);
}

it('a write that would go below the reserve is refused, and remembered', async () => {
  const reserve = reserveOf(() => 2 * GB);
  await reserve.check(1.4 * GB);
  expect(reserve.lastRefused).toBeNull();
  const words = 'no space left on device: [store] has 2GB free, of which 500MB are kept in reserve';
  await expect(reserve.check(1.6 * GB)).rejects.toMatchObject({ kind: 'insufficientResources', message: words });
  expect(reserve.lastRefused?.message).toBe(words);
});

it('growing data is refused when it reaches the reserve', async () => {
  let free = GB;
  const grow = reserveOf(() => free).growing(false);
  let written = 0;
  await expect(
    (async () => {
      for (; ; written += 4e6, free -= 4e6) await grow(4e6);
    })(),
  ).rejects.toThrow('no space left on device');
  expect(written).toBeGreaterThan(450e6);
  expect(written).toBeLessThan(500e6);
});

it('images keep to their quota in total, however small the pieces', async () => {
  const reserve = reserveOf(() => 9 * GB, storageLimits({ imageQuotaGiB: 1 }), 0.9 * 2 ** 30);
  const grow = reserve.growing(true);
  await grow(50 << 20);
  await expect(grow(60 << 20)).rejects.toThrow('images may take 1.074GB in all (disk quota exceeded)');
  const volume = reserve.growing(false);
  await volume(2 ** 31);
});

describe('the quota for everything', () => {
  const others = async () => ({ containers: 2 * GB, volumes: GB });
  const roomOf = (quota: string, images = GB) =>
    new StorageReserve(
      { '[store]': async () => ({ capacity: 100 * GB, free: 90 * GB }) },
      storageLimits({ quota }),
      () => images,
      others,
    );

  it('counts images, containers and volumes together, and says what is missing', async () => {
    const room = roomOf('5000000000b');
    await room.checkStorageQuota(GB);
    await expect(room.checkStorageQuota(1.1 * GB)).rejects.toMatchObject({
      kind: 'insufficientResources',
      message:
        'no space left on device: images, containers and volumes take 4GB of the 5GB that they may in all, and 1.1GB more are needed (disk quota exceeded)',
    });
    expect(room.lastRefused?.message).toContain('disk quota exceeded');
    expect(await room.storageQuota()).toEqual({ images: GB, containers: 2 * GB, volumes: GB, most: 5 * GB });
  });

  it('is heeded while an image grows', async () => {
    const grow = roomOf('5GiB').growing(true);
    await grow(GB);
    await expect(grow(GB)).rejects.toThrow('disk quota exceeded');
  });

  it('costs nothing where there is none', async () => {
    const room = new StorageReserve({}, storageLimits(), undefined, () => Promise.reject(new Error('asked')));
    await room.checkStorageQuota(1e15);
    expect(await room.storageQuota()).toBeNull();
  });

  it.each(['', '0', '-1', '5%', 'x'])('is not %j', (quota) => {
    expect(() => storageLimits({ quota })).toThrow('is no size');
  });
});
