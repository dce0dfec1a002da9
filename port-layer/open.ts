/** Opening the port layer: connects to vSphere and puts its services together. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isEmbedded } from '../src/common/embedded-host.js';
import { messageOf } from '../src/common/errors.js';
import { logger } from '../src/common/log.js';
import { FILES_SOCKET, ownSpoolDirectory } from '../src/common/paths.js';
import { type ManagedObjectReference, PropertyWatcher, VimClient } from '../src/vim25/index.js';
import type { VchConfig } from './config.js';
import { DiskReaders } from './disks/disk-readers.js';
import { PortLayerError } from './errors.js';
import type { Container } from './exec/container.js';
import { ContainerCache } from './exec/container-cache.js';
import { Containers } from './exec/containers.js';
import { readVm, VM_PROPERTIES } from './exec/vm-report.js';
import { ContainerFiles } from './files/container-files.js';
import { imageDifferences } from './files/image-differences.js';
import { VolumeArchives } from './files/volume-archives.js';
import { VolumeBackups } from './files/volume-backups.js';
import { volumeFreezer } from './files/volume-freezer.js';
import { hostInfo } from './host-info.js';
import { Interaction } from './interaction/interaction.js';
import { OwnVmKeys } from './network/endpoint-keys.js';
import { EndpointVm } from './network/endpoint-vm.js';
import { machineRoutes } from './network/machine-routes.js';
import { Networks } from './network/networks.js';
import { VolumeSegments } from './network/volume-segments.js';
import { Observe } from './observe/observe.js';
import type { PortLayer } from './port-layer.js';
import { ImageStoreFiles } from './storage/image-store-files.js';
import { DatastoreKeyValueStore } from './storage/key-value-store.js';
import { Layers, layerBytes } from './storage/layers.js';
import { NfsStores } from './storage/nfs-stores.js';
import { localSpace, StorageReserve, storageLimits } from './storage/storage-reserve.js';
import { usageBesidesImages } from './storage/storage-usage.js';
import { volumeStores } from './storage/volume-disks.js';
import { VolumeLife } from './storage/volume-life.js';
import type { StoreFiles } from './storage/volume-stores.js';
import { VolumeUse } from './storage/volume-use.js';
import { Volumes } from './storage/volumes.js';

const log = logger('port-layer');

/** Connects to vSphere and finds everything that belongs to the virtual container host. @throws unavailable, unauthorized, VimFault */
export async function openPortLayer(config: VchConfig): Promise<PortLayer> {
  const filesSocket = process.env[FILES_SOCKET];
  const spool = { id: config.id, directory: ownSpoolDirectory(config.id) };
  const here = filesSocket === undefined ? {} : { filesSocket, spool };
  const client = await VimClient.connect({ ...config.target, ...here });
  try {
    const datacenter = await findDatacenter(client, config.datacenter);
    await mkdir(config.channelDir, { recursive: true, mode: 0o711 });
    const spoolDir = join(spool.directory, 'disks');
    const files = new ImageStoreFiles(client, config, datacenter);
    const volumeFiles = new Map<string, ImageStoreFiles>();
    const imageBytes = (): number => layers.list().reduce((sum, layer) => sum + layerBytes(layer), 0);
    const roomFor = (store: ImageStoreFiles, datastore: string): StorageReserve =>
      new StorageReserve(
        {
          [`[${datastore}]`]: () => store.space(),
          "the engine's working directory": () => localSpace(spoolDir),
        },
        storageLimits(config.storage),
        imageBytes,
        () => usageBesidesImages(client, config, [...volumeFiles.values()]),
      );
    const room = roomFor(files, config.imageStore.datastore);
    const layers: Layers = new Layers(files, config, spoolDir, room);
    await layers.load();
    const cache = new ContainerCache();
    const ownHost = isEmbedded(client.serviceContent.about);
    const volumeUse = new VolumeUse(() => cache.all(), ownHost);
    const readers = new DiskReaders();
    layers.onRemove = () => readers.forgetLayers();
    const openBlocks = (path: string): ReturnType<Layers['openBlocks']> => layers.openBlocks(path);
    const place = { openBlocks, datastore: files.datastore, spoolDir, room };
    layers.differences = (...of) => imageDifferences(readers, place, ...of);
    const [first, ...others] = volumeStores(config).map(({ label, datastore, path }): [string, StoreFiles] => {
      const beside = datastore === config.imageStore.datastore;
      const space = new ImageStoreFiles(client, config, datacenter, { datastore, path });
      volumeFiles.set(label, space);
      return [label, { files: space, room: beside ? room : roomFor(space, datastore) }];
    });
    const [, own] = first!;
    const nfs = config.nfsStores === undefined ? null : new NfsStores(config.nfsStores);
    const volumes = new Volumes(
      own.files,
      config,
      layers,
      volumeUse,
      spoolDir,
      readers,
      own.room,
      new Map(others),
      nfs,
    );
    await volumes.load();
    volumes.usedByContainers = () =>
      new Set(exec.list().flatMap(({ spec }) => (spec.volumes ?? []).map(({ volume }) => volume)));
    const network = new Networks(config, cache, {
      store: new EndpointVm(client, config),
      routes: machineRoutes,
      ownHost,
    });
    await network.load();
    const endpoint = new OwnVmKeys(client, config.id);
    const segments = ownHost ? new VolumeSegments(client, config) : null;
    const exec = new Containers(client, config, cache, network, layers, volumes, volumeUse, segments);
    volumes.settled = (name) => exec.sharing.settled(name);
    const visit = (container: Container): Promise<() => void> => exec.visit(container);
    const volumeLife = new VolumeLife(volumes, volumeUse, volumeFreezer(cache, visit));
    await volumeLife.load();
    exec.room = room;
    layers.usedByContainers = () => new Set(cache.all().flatMap((container) => container.spec.layer ?? []));
    const watcher = new PropertyWatcher(client, config.resourcePool, 'VirtualMachine', [...VM_PROPERTIES], {
      changed: ({ ref, props }) => {
        const vm = readVm(ref, (path) => props.get(path));
        if (!endpoint.observe(vm)) exec.observer.observe(vm);
      },
      left: (ref) => exec.observer.vanished(ref),
    });
    await watcher.start();
    await exec.observer.opened();
    exec.sharing
      .open(volumes.list().map(({ name }) => name))
      .catch((error: unknown) => log.error({ err: messageOf(error) }, 'what is left of shared volumes is not known'));
    return {
      exec,
      interaction: new Interaction(config, cache, files.datastore),
      observe: new Observe(cache, visit),
      files: new ContainerFiles(
        config,
        cache,
        files.datastore,
        layers,
        spoolDir,
        volumeUse,
        volumes,
        visit,
        readers,
        room,
      ),
      room,
      endpoint,
      startGate: exec.gate,
      layers,
      volumes,
      volumeLife,
      volumeBackups: new VolumeBackups({ volumes, life: volumeLife, use: volumeUse, readers, spoolDir }),
      volumeArchives: new VolumeArchives({ volumes, life: volumeLife, readers, spoolDir }),
      kv: new DatastoreKeyValueStore(files),
      network,
      hostInfo: () => hostInfo(client),
      onEvent(listener) {
        exec.events.on('event', listener);
        return () => exec.events.off('event', listener);
      },
      async close() {
        await watcher.close();
        await exec.close();
        nfs?.close();
        readers.close();
        await client.close();
      },
    };
  } catch (error) {
    await client.close();
    throw error;
  }
}

async function findDatacenter(client: VimClient, name: string): Promise<ManagedObjectReference> {
  const { searchIndex } = client.serviceContent;
  const found =
    searchIndex === undefined
      ? undefined
      : await client.call('FindByInventoryPath', searchIndex, { inventoryPath: name });
  if (found === undefined) throw new PortLayerError('target.noDatacenter', { datacenter: name });
  return found;
}
