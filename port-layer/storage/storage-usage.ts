/** What the containers and volumes of a virtual container host take on its datastore. Asked only where a quota has to be kept. */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { StorageUsage } from './storage-reserve.js';

const log = logger('storage');

/** In bytes, as the host counts them now. @param stores where volumes are */
export async function usageBesidesImages(
  client: VimClient,
  config: Pick<VchConfig, 'resourcePool' | 'id'>,
  stores: readonly ImageStoreFiles[],
): Promise<Omit<StorageUsage, 'images'>> {
  const [containers, ...volumes] = await Promise.all([machineBytes(client, config), ...stores.map(volumeBytes)]);
  return { containers: containers!, volumes: volumes.reduce((sum, bytes) => sum + bytes, 0) };
}

/** A datastore that is not there now has nothing that could grow. */
async function volumeBytes(store: ImageStoreFiles): Promise<number> {
  return store.bytesBelow(`${store.root}/volumes`).catch((error: unknown) => {
    log.warn({ store: store.root, err: messageOf(error) }, 'the volumes of a store are not counted');
    return 0;
  });
}

/** The files of all VMs in the pool, without what lies in a store: images and volumes. */
async function machineBytes(
  client: VimClient,
  { resourcePool, id }: Pick<VchConfig, 'resourcePool' | 'id'>,
): Promise<number> {
  const [pool] = await client.retrieve([resourcePool], 'ResourcePool', ['vm']);
  const machines = await client.retrieve(pool?.props.vm ?? [], 'VirtualMachine', ['layoutEx']);
  return machines
    .flatMap(({ props }) => props.layoutEx?.file ?? [])
    .filter(({ name }) => !name.includes(`VIC/${id}/`))
    .reduce((sum, { size, uniqueSize }) => sum + Number(uniqueSize ?? size), 0);
}
