/** A state directory as an embedded host leaves it: two images, a volume, a container and an endpoint, made by the code that makes them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ImageStore } from '../../appliance/image/image-store.js';
import type { ImageConfig } from '../../appliance/image/index.js';
import { parseReference } from '../../appliance/image/reference.js';
import type { VchConfig } from '../../port-layer/config.js';
import { DatastoreKeyValueStore } from '../../port-layer/storage/key-value-store.js';
import { Layers } from '../../port-layer/storage/layers.js';
import { VolumeUse } from '../../port-layer/storage/volume-use.js';
import { Volumes } from '../../port-layer/storage/volumes.js';
import { chainId, sha256 } from '../../src/common/ids.js';
import { createDisk } from '../../src/hostd/disks/disk-files.js';
import { newVmConfig, saveVmx } from '../../src/hostd/vm/vm-config.js';
import { tarOf } from '../unit/disk/support.js';
import { localStore } from './local-store.js';

const VCH = 'a'.repeat(32);
export const CONTAINER = 'c'.repeat(64);

/** Paths of its parts. */
export interface KeptStore {
  stateDir: string;
  /** `…/VIC/<id>` */
  root: string;
  /** Directories of the layers: the lowest, the one above, one that changes nothing, and the other image's. */
  layers: string[];
  /** Chain ids of the same. */
  chains: string[];
  images: string[];
  volume: string;
  machine: string;
}

/** Makes it below `stateDir`, which must not exist. */
export async function keptStore(stateDir: string): Promise<KeptStore> {
  const datastore = join(stateDir, 'datastore1');
  await mkdir(datastore, { recursive: true });
  const files = localStore(datastore, `VIC/${VCH}`);
  const config = {
    id: VCH,
    imageStore: { datastore: 'datastore1', path: '' },
    container: { baseImageSizeGiB: 1 / 16 },
  } as VchConfig;
  const layers = new Layers(files, config, join(stateDir, '..', 'spool'));
  await layers.load();
  const volumes = new Volumes(files, config, layers, new VolumeUse(() => []), join(stateDir, '..', 'spool'));
  await volumes.load();
  const images = await ImageStore.open(new DatastoreKeyValueStore(files), layers);

  const random = (length: number, seed: string): Buffer =>
    Buffer.concat(Array.from({ length: Math.ceil(length / 32) }, (_, i) => Buffer.from(sha256(`${seed} ${i}`), 'hex')));
  const base = await tarOf([
    { name: 'etc/', type: 'directory', mode: 0o755 },
    { name: 'etc/motd', content: 'hello\n' },
    { name: 'bin/', type: 'directory', mode: 0o755 },
    { name: 'bin/tool', content: random(200_000, 'tool'), mode: 0o755 },
    { name: 'bin/link', type: 'symlink', linkname: 'tool' },
    ...Array.from({ length: 300 }, (_, i) => ({ name: `etc/file-with-a-long-name-${i}`, content: `file ${i}` })),
  ]);
  const upper = await tarOf([
    { name: 'etc/motd', content: 'hello again\n' },
    { name: 'data', content: random(500_000, 'data') },
    { name: 'data2', content: random(100, 'first') },
    { name: 'data2', content: random(100, 'second') },
  ]);
  const empty = Buffer.alloc(1024);
  const other = await tarOf([{ name: 'other', content: 'other' }]);
  const chains: string[] = [];
  const ids: string[] = [];
  for (const [name, tars] of [
    ['one', [base, upper, empty]],
    ['two', [other]],
  ] as const) {
    const diffIds = tars.map((tar) => `sha256:${sha256(tar)}`);
    let parent: string | null = null;
    for (const [i, tar] of tars.entries()) {
      const diffId = diffIds[i]!;
      const layer: { chainId: string; parent: string | null; diffId: string } = {
        chainId: chainId(parent, diffId),
        parent,
        diffId,
      };
      await layers.write(layer, Readable.from([tar]), { verify: async () => undefined });
      chains.push(layer.chainId);
      parent = layer.chainId;
    }
    const imageConfig = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } };
    const raw = Buffer.from(JSON.stringify(imageConfig));
    const id = `sha256:${sha256(raw)}`;
    const image = { id, rawConfig: raw, config: imageConfig as unknown as ImageConfig };
    await images.add(image, [parseReference(`${name}:latest`)]);
    ids.push(id);
  }
  await volumes.create({ name: 'data', driver: 'local', labels: null, options: null, capacityBytes: 2 ** 24 });

  const root = join(datastore, 'VIC', VCH);
  const hex = (chain: string): string => chain.slice('sha256:'.length);
  const machine = join(datastore, CONTAINER);
  await mkdir(machine);
  const disk = join(root, 'images', hex(chains[1]!), `${hex(chains[1]!)}.vmdk`);
  await createDisk(join(machine, `${CONTAINER}.vmdk`), disk, 0);
  const volumeId = sha256('volume data');
  const volume = join(root, 'volumes', volumeId);
  await saveMachine(machine, CONTAINER, {
    disks: [
      `[datastore1] ${CONTAINER}/${CONTAINER}.vmdk`,
      `[datastore1] VIC/${VCH}/volumes/${volumeId}/${volumeId}.vmdk`,
    ],
    keys: {
      'caisson.vch': VCH,
      'caisson.container': JSON.stringify({
        version: 1,
        id: CONTAINER,
        name: 'web',
        layer: chains[2],
        volumes: [{ volume: 'data', path: '/data', readOnly: false }],
      }),
    },
  });
  const endpoint = join(datastore, 'default');
  await mkdir(endpoint);
  await saveMachine(endpoint, 'default', {
    disks: [],
    keys: {
      'caisson.appliance': 'endpoint',
      'caisson.vch': VCH,
      'caisson.networks': JSON.stringify([{ id: 'd'.repeat(64), name: 'n1', portGroup: 'default-n1', pools: [] }]),
    },
  });
  await writeFile(
    join(stateDir, 'inventory.json'),
    JSON.stringify({
      nextId: 9,
      pools: [
        { id: 'ha-root-pool', name: 'Resources', parent: null },
        { id: 'pool-1', name: 'default', parent: 'ha-root-pool' },
      ],
      portGroups: ['VM Network', 'default-bridge', 'default-n1'],
      owners: { 'default-n1': VCH },
      vms: [
        { id: 'vm-2', vmx: 'default/default.vmx', pool: 'pool-1' },
        { id: 'vm-3', vmx: `${CONTAINER}/${CONTAINER}.vmx`, pool: 'pool-1' },
      ],
    }),
  );
  await writeFile(
    join(stateDir, 'access.json'),
    JSON.stringify({
      users: [{ name: 'vch', description: '', salt: '', hash: '' }],
      roles: [{ id: 10, name: 'r', privileges: [] }],
      permissions: [{ entity: { type: 'Folder', value: 'f' }, principal: 'vch', roleId: 10, propagate: true }],
      nextRole: 11,
    }),
  );
  await writeFile(join(stateDir, 'endpoint-users.json'), JSON.stringify({ [endpoint]: 63_100 }));
  return {
    stateDir,
    root,
    layers: chains.map((chain) => join(root, 'images', hex(chain))),
    chains,
    images: ids,
    volume,
    machine,
  };
}

async function saveMachine(
  directory: string,
  name: string,
  { disks, keys }: { disks: string[]; keys: Record<string, string> },
): Promise<void> {
  const config = newVmConfig(name);
  config.hardware.controllers = [{ key: 1000, bus: 0, type: 'ParaVirtualSCSIController' }];
  config.hardware.disks = disks.map((file, unit) => ({ key: 2000 + unit, bus: 0, unit, file, mode: 'persistent' }));
  config.hardware.nics = [
    {
      key: 4000,
      type: 'VirtualVmxnet3',
      portGroup: 'default-bridge',
      mac: `00:0c:29:00:00:0${disks.length}`,
      manualMac: false,
      connected: true,
    },
  ];
  config.extraConfig = new Map(Object.entries(keys));
  await saveVmx(join(directory, `${name}.vmx`), `[datastore1] ${name}`, config);
}
