/** A stopped container on a datastore that is a local directory, for tests of its files. */
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { VchConfig } from '../../port-layer/config.js';
import { DiskReaders } from '../../port-layer/disks/disk-readers.js';
import { volumeSource } from '../../port-layer/disks/disk-source.js';
import { Container } from '../../port-layer/exec/container.js';
import { ContainerCache } from '../../port-layer/exec/container-cache.js';
import { Machine } from '../../port-layer/exec/machine.js';
import { ContainerFiles } from '../../port-layer/files/container-files.js';
import type { ContainerSpec } from '../../port-layer/index.js';
import { DatastoreBlocks } from '../../port-layer/storage/datastore-blocks.js';
import { volumeDiskPath } from '../../port-layer/storage/volume-disks.js';
import { VolumeUse } from '../../port-layer/storage/volume-use.js';
import { createChild, createFilesystem, FileBlocks, readVmdkInfo } from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';

export const CONTAINER_ID = 'c'.repeat(64);

const CONFIG = { id: 'vch', imageStore: { datastore: 'datastore1', path: '' } } as VchConfig;

/** Creates an empty volume on that datastore. Returns its disk. */
export async function storedVolume(directory: string, name: string): Promise<string> {
  const outPath = join(directory, volumeDiskPath(CONFIG, name));
  mkdirSync(dirname(outPath), { recursive: true });
  await createFilesystem({ outPath, capacity: 16 << 20, seed: name, label: 'volume' });
  return outPath;
}

/** For all tests of a file. */
const sharedReaders = new DiskReaders();

/** The parts of a datastore client that the files need. */
class LocalDatastore {
  constructor(private readonly root: string) {}

  async get(path: string, { start, end }: { start?: number; end?: number } = {}): Promise<Readable> {
    return createReadStream(join(this.root, path), { start, ...(end === undefined ? {} : { end: end - 1 }) });
  }

  async put(path: string, content: Readable): Promise<void> {
    const partial = join(this.root, `${path}.new`);
    await pipeline(content, createWriteStream(partial));
    renameSync(partial, join(this.root, path));
  }

  async hand(): Promise<boolean> {
    return false;
  }

  async size(path: string): Promise<number | null> {
    return existsSync(join(this.root, path)) ? statSync(join(this.root, path)).size : null;
  }
}

/** One over the layer `layer`, a VMDK in `directory` with a unique name, as readers keep it open. Its user is `web`. */
export async function stoppedContainer(
  directory: string,
  layer: string,
  readers = sharedReaders,
): Promise<{ files: ContainerFiles; container: Container; disk: string; cache: ContainerCache; use: VolumeUse }> {
  mkdirSync(join(directory, CONTAINER_ID));
  mkdirSync(join(directory, 'spool'));
  const disk = join(directory, CONTAINER_ID, `${CONTAINER_ID}.vmdk`);
  await createChild(disk, layer);
  const spec = {
    id: CONTAINER_ID,
    name: 'box',
    createdAt: new Date().toISOString(),
    readOnlyRoot: false,
    process: { user: 'web', cwd: '/' },
  } as ContainerSpec;
  const container = new Container(spec, new Machine({ type: 'VirtualMachine', value: 'vm-1' }, ''));
  const cache = new ContainerCache();
  cache.add(container);
  const config = CONFIG;
  const datastore = new LocalDatastore(directory) as unknown as DatastoreClient;
  const layers = {
    chainOf: () => chainOf(directory, basename(layer)),
    openBlocks: (path: string) => DatastoreBlocks.open(datastore, path),
    openDisk: (path: string) => DatastoreBlocks.open(datastore, path),
  };
  const use = new VolumeUse(() => cache.all());
  return {
    files: new ContainerFiles(
      config,
      cache,
      datastore,
      layers,
      join(directory, 'spool'),
      use,
      { source: (name) => volumeSource(name, volumeDiskPath(CONFIG, name), [], datastore, join(directory, 'spool')) },
      neverVisited,
      readers,
    ),
    container,
    disk,
    cache,
    use,
  };
}

/** A layer's disk and those below it, by their hints. */
async function chainOf(directory: string, layer: string): Promise<string[]> {
  const disks: string[] = [];
  for (let next: string | null = layer; next !== null; ) {
    disks.push(next);
    const file = await FileBlocks.open(join(directory, next));
    next = await readVmdkInfo(file).then(({ parentHint }) => parentHint);
    await file.close();
  }
  return disks;
}

/** The container has run, and its run has ended. */
export function hasRun(container: Container): void {
  container.dispatch({ type: 'start' });
  container.dispatch({ type: 'power', startedAt: new Date(), endpoints: [] });
  container.dispatch({ type: 'started', pid: 1 });
  container.dispatch({ type: 'off', status: { kind: 'none' }, at: new Date() });
}

async function neverVisited(): Promise<never> {
  throw new Error('this container does not run');
}
