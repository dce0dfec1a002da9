import { expect, it } from 'vitest';
import { parseVolumeStore, volumeStoreSettings } from '../../../src/cli/volume-store-options.js';

it.each([
  ['ds1:default', { datastore: 'ds1', path: '', label: 'default' }],
  ['ds1/a/b:fast', { datastore: 'ds1', path: 'a/b', label: 'fast' }],
  ['ds://My Store/a/:x', { datastore: 'My Store', path: 'a', label: 'x' }],
])('reads --volume-store %s', (text, store) => {
  expect(parseVolumeStore(text)).toEqual(store);
});

it.each([
  ['ds1', 'is not of the form'],
  [':x', 'is not of the form'],
  ['ds1:', 'is not of the form'],
  ['ds1/a:b:c', 'is not of the form'],
  ['ds1:a/b', 'is not of the form'],
  ['http://x:y', 'is not of the form'],
  ['ds1/../x:y', "may not contain '..'"],
  ['nfs://host/path:label', 'is not implemented'],
])('refuses --volume-store %s', (text, message) => {
  expect(() => parseVolumeStore(text)).toThrow(message);
});

it('keeps what there is, and takes only more', () => {
  const fast = { label: 'fast', datastore: 'ds1', path: 'a' };
  expect(volumeStoreSettings({ volumeStore: [] })).toEqual({});
  expect(volumeStoreSettings({ volumeStore: [] }, [fast])).toEqual({ volumeStores: [fast] });
  const both = ['ds1/a:fast', 'ds2:slow'];
  expect(volumeStoreSettings({ volumeStore: both }, [fast]).volumeStores).toHaveLength(2);
  expect(() => volumeStoreSettings({ volumeStore: ['ds2:slow'] }, [fast])).toThrow(
    'all existing volume stores must also be specified: fast is missing',
  );
  expect(() => volumeStoreSettings({ volumeStore: ['ds1/b:fast'] }, [fast])).toThrow(
    'changes to existing volume stores are not supported: fast',
  );
  expect(() => volumeStoreSettings({ volumeStore: ['a:x', 'b:x'] })).toThrow('the label x is given twice');
});
