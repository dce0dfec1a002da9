/** Volumes in stores on several datastores of a vCenter. The simulator copies only disks of two files, so nothing is kept or cloned here. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VchConfig } from '../../port-layer/config.js';
import { DiskReaders } from '../../port-layer/disks/disk-readers.js';
import type { NewVolume } from '../../port-layer/index.js';
import { ImageStoreFiles } from '../../port-layer/storage/image-store-files.js';
import { VolumeLife } from '../../port-layer/storage/volume-life.js';
import { VolumeUse } from '../../port-layer/storage/volume-use.js';
import { Volumes } from '../../port-layer/storage/volumes.js';
import { VimClient } from '../../src/vim25/index.js';
import { inventory, place } from '../support/inventory.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

const spool = mkdtempSync(join(tmpdir(), 'caisson-stores-'));
const readers = new DiskReaders();
let vcsim: Vcsim;
let client: VimClient;
let config: VchConfig;
let stores: ImageStoreFiles[];

beforeAll(async () => {
  vcsim = await startVcsim('vpx', 2);
  client = await VimClient.connect(vcsim);
  const { datacenter } = await place(client);
  const names = [...(await inventory(client, 'Datastore')).keys()].sort();
  config = {
    id: 'a'.repeat(32),
    datacenter,
    imageStore: { datastore: names[0], path: '' },
    volumeStores: [{ label: 'fast', datastore: names[1], path: 'of one/deep' }],
  } as VchConfig;
  const dc = (await inventory(client, 'Datacenter')).get(datacenter)!;
  stores = [config.imageStore, config.volumeStores![0]!].map(
    (store) => new ImageStoreFiles(client, config, dc, { datastore: store.datastore, path: store.path }),
  );
});
afterAll(async () => {
  readers.close();
  await client?.close();
  await vcsim?.stop();
  rmSync(spool, { recursive: true, force: true });
});

/** An endpoint that has just started. */
async function endpoint(): Promise<{ volumes: Volumes; life: VolumeLife }> {
  const use = new VolumeUse(() => []);
  const more = new Map([['fast', { files: stores[1]!, room: null }]]);
  const volumes = new Volumes(stores[0]!, config, {} as never, use, spool, readers, null, more);
  await volumes.load();
  const life = new VolumeLife(volumes, use, () => Promise.reject(new Error('no guests')));
  await life.load();
  return { volumes, life };
}

it('are made, found again and removed, each on its datastore', async () => {
  const wanted = (name: string, store: string): NewVolume => ({
    name,
    store,
    driver: 'local',
    labels: null,
    options: null,
    capacityBytes: 16 * 2 ** 20,
  });
  const { volumes, life } = await endpoint();
  await volumes.create(wanted('here', 'default'));
  await volumes.create(wanted('there', 'fast'));
  await expect(volumes.create(wanted('nowhere', 'slow'))).rejects.toThrow('slow');
  await expect(life.clone(wanted('other', 'default'), { volume: 'there' })).rejects.toThrow('store');
  const later = await endpoint();
  const named = ({ list }: { list(): { name: string; store?: string }[] }): string[] =>
    list()
      .map(({ name, store = 'default' }) => `${store}/${name}`)
      .sort();
  expect(named({ list: () => later.volumes.list() })).toEqual(['default/here', 'fast/there']);
  const [first, second] = [config.imageStore.datastore, config.volumeStores![0]!.datastore];
  expect(later.volumes.placeOf('here').startsWith(`[${first}] VIC/`)).toBe(true);
  expect(later.volumes.placeOf('there').startsWith(`[${second}] of one/deep/VIC/`)).toBe(true);
  for (const name of ['here', 'there']) expect(await later.volumes.usage(name)).toBe(0);
  for (const name of ['here', 'there']) await later.volumes.remove(name);
  for (const store of stores) expect(await store.bytesBelow(`${store.root}/volumes`)).toBe(0);
});
