/** What the containers and volumes of a virtual container host take on its datastore. Asked only where a quota has to be kept. */
import { datastorePath, type VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { StorageUsage } from './storage-reserve.js';

/** In bytes, as the host counts them now. */
export async function usageBesidesImages(
  client: VimClient,
  config: Pick<VchConfig, 'resourcePool' | 'imageStore'>,
  files: ImageStoreFiles,
): Promise<Omit<StorageUsage, 'images'>> {
  const [containers, volumes] = await Promise.all([
    machineBytes(client, config, files.root),
    files.bytesBelow(`${files.root}/volumes`),
  ]);
  return { containers, volumes };
}

/** The files of all VMs in the pool, without what lies in the store: images and volumes. */
async function machineBytes(
  client: VimClient,
  { resourcePool, imageStore }: Pick<VchConfig, 'resourcePool' | 'imageStore'>,
  root: string,
): Promise<number> {
  const [pool] = await client.retrieve([resourcePool], 'ResourcePool', ['vm']);
  const machines = await client.retrieve(pool?.props.vm ?? [], 'VirtualMachine', ['layoutEx']);
  const store = `${datastorePath(imageStore.datastore, root)}/`;
  return machines
    .flatMap(({ props }) => props.layoutEx?.file ?? [])
    .filter(({ name }) => !name.startsWith(store))
    .reduce((sum, { size, uniqueSize }) => sum + Number(uniqueSize ?? size), 0);
}
