/** The configuration of a virtual container host for unit tests, without networks. */
import type { VchConfig } from '../../port-layer/config.js';

export const VCH_CONFIG: Omit<VchConfig, 'networks'> = {
  version: 1,
  id: '0'.repeat(32),
  name: 'test',
  target: { url: 'https://127.0.0.1/sdk', user: '', password: '' },
  resourcePool: { type: 'ResourcePool', value: 'resgroup-1' },
  folder: { type: 'Folder', value: 'group-v1' },
  datacenter: 'dc',
  imageStore: { datastore: 'datastore1', path: '' },
  listen: [],
  registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
  container: { cpus: 1, memoryMiB: 512, baseImageSizeGiB: 32 },
  channelDir: '',
};
