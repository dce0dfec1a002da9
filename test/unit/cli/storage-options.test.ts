/** `vic-machine configure`: which storage settings change, and which stay. */
import { expect, it } from 'vitest';
import { changedStorage } from '../../../src/cli/storage-options.js';

it('changes what is named, lifts what is to be none, and keeps the rest', () => {
  const now = { reserve: '10%', imageQuotaGiB: 5 };
  expect(changedStorage({ storageQuota: '20' }, now)).toEqual({ ...now, quota: '20GiB' });
  expect(changedStorage({ storageQuota: '500m', imageQuota: 'none' }, now)).toEqual({ reserve: '10%', quota: '500m' });
  expect(changedStorage({ storageQuota: 'none' }, { ...now, quota: '1GiB' })).toEqual(now);
  expect(changedStorage({ imageQuota: '7', storageReserve: '1GiB' }, undefined)).toEqual({
    reserve: '1GiB',
    imageQuotaGiB: 7,
  });
});

it('changes nothing without options', () => {
  expect(changedStorage({}, undefined)).toBeUndefined();
});

it.each([{ storageQuota: 'x' }, { storageQuota: '0' }, { imageQuota: '0' }, { storageReserve: '200%' }])(
  'refuses %j',
  (options) => {
    expect(() => changedStorage(options, undefined)).toThrow();
  },
);
