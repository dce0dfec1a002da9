import { expect, it } from 'vitest';
import { parseVolumeStore, volumeStoreSettings } from '../../../src/cli/volume-store-options.js';

it.each([
  ['ds1:default', { datastore: 'ds1', path: '', label: 'default' }],
  ['ds1/a/b:fast', { datastore: 'ds1', path: 'a/b', label: 'fast' }],
  ['ds://My Store/a/:x', { datastore: 'My Store', path: 'a', label: 'x' }],
  ['nfs://Host/path:label', { host: 'host', path: '/path', uid: 0, gid: 0, label: 'label' }],
  ['nfs://h:80/a%20b/?uid=7&gid=8:x', { host: 'h', port: 80, path: '/a b', uid: 7, gid: 8, label: 'x' }],
  ['nfs://[fd00::1]:2049/:x', { host: 'fd00::1', path: '/', uid: 0, gid: 0, label: 'x' }],
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
  ['nfs:///path:label', 'is not of the form'],
  ['nfs://host/path', 'is not of the form'],
  ['nfs://user@host/path:x', 'is not of the form'],
  ['nfs://host/a,b:x', 'is not of the form'],
  ['nfs://host/a/../b:x', "may not contain '..'"],
  ['nfs://host/path?vers=3:x', "has the option 'vers=3'"],
  ['nfs://host/path?uid=root:x', 'has uid=root'],
])('refuses --volume-store %s', (text, message) => {
  expect(() => parseVolumeStore(text)).toThrow(message);
});

it('keeps what there is, and takes only more', () => {
  const fast = { label: 'fast', datastore: 'ds1', path: 'a' };
  expect(volumeStoreSettings({ volumeStore: [] })).toEqual({});
  expect(volumeStoreSettings({ volumeStore: [] }, { volumeStores: [fast] })).toEqual({ volumeStores: [fast] });
  const both = ['ds1/a:fast', 'ds2:slow'];
  expect(volumeStoreSettings({ volumeStore: both }, { volumeStores: [fast] }).volumeStores).toHaveLength(2);
  expect(() => volumeStoreSettings({ volumeStore: ['ds2:slow'] }, { volumeStores: [fast] })).toThrow(
    'all existing volume stores must also be specified: fast is missing',
  );
  expect(() => volumeStoreSettings({ volumeStore: ['ds1/b:fast'] }, { volumeStores: [fast] })).toThrow(
    'changes to existing volume stores are not supported: fast',
  );
  const before = volumeStoreSettings({ volumeStore: ['nfs://h/p:net', 'ds1/a:fast'] });
  expect(before).toEqual({
    volumeStores: [fast],
    nfsStores: [{ label: 'net', host: 'h', path: '/p', uid: 0, gid: 0 }],
  });
  expect(volumeStoreSettings({ volumeStore: [] }, before)).toEqual(before);
  expect(() => volumeStoreSettings({ volumeStore: ['nfs://other/p:net', 'ds1/a:fast'] }, before)).toThrow(
    'changes to existing volume stores are not supported: net',
  );
  expect(() => volumeStoreSettings({ volumeStore: ['a:x', 'b:x'] })).toThrow('the label x is given twice');
});
