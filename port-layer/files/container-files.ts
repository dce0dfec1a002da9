/** The files component of the port layer: what Docker's `cp` asks of a container. */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { isKind } from '../../src/common/errors.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { FilesView } from '../../tether/protocol/files.js';
import type { VchConfig } from '../config.js';
import { type DiskCall, DiskReaders } from '../disks/disk-readers.js';
import type { DiskSource } from '../disks/disk-source.js';
import { PortLayerError } from '../errors.js';
import type { Container } from '../exec/container.js';
import type { ContainerCache } from '../exec/container-cache.js';
import { vmDirectory } from '../exec/vm-spec.js';
import { CHANGES, type LookPatience, SIZE } from '../interaction/patience.js';
import type { Layers } from '../storage/layers.js';
import type { StorageReserve } from '../storage/storage-reserve.js';
import type { VolumeUse } from '../storage/volume-use.js';
import { compareTrees, shown, type TreeChange } from './changes.js';
import { frozen, whileStill } from './frozen-disk.js';
import { GuestFiles } from './guest-files.js';
import { makeInitLayer } from './init-layer.js';
import { layerTar } from './layer-tar.js';
import { makeDirectory } from './make-directory.js';
import { MountedFiles } from './mounted-files.js';
import { NameBudget } from './name-budget.js';
import { OpenVolumes } from './open-volumes.js';
import { userOf } from './owner.js';
import { absolutePath, baseName, cleanPath, followLinks, toBytes, toText } from './paths.js';
import { Quiet } from './quiet.js';
import {
  Errno,
  type FileEntry,
  FileError,
  fileFailed,
  isDirectory,
  isRegular,
  isSymlink,
  type RootFiles,
} from './root-files.js';
import { unpack } from './tar-in.js';
import { tarOf } from './tar-out.js';
import type { FileChange, FileService, PathStat } from './types.js';
import { writeChanges } from './write-changes.js';

/** The longest wait for a VM whose process has ended to be off. */
const END_MS = 20_000;
const RETRY_MS = 20;

/** See {@link FileService}. */
export class ContainerFiles implements FileService {
  /** @param spoolDir for copies of disks that are changed */
  constructor(
    private readonly config: VchConfig,
    private readonly containers: ContainerCache,
    private readonly datastore: DatastoreClient,
    private readonly layers: Pick<Layers, 'chainOf' | 'openBlocks' | 'openDisk'>,
    private readonly spoolDir: string,
    private readonly volumeUse: VolumeUse,
    private readonly volumes: { source(name: string): DiskSource },
    /** Keeps a running container's guest awake: `Pauser.visit`. */
    private readonly visit: (container: Container) => Promise<() => void>,
    private readonly readers = new DiskReaders(),
    private readonly room: StorageReserve | null = null,
  ) {}

  async stat(id: string, path: string, signal?: AbortSignal): Promise<PathStat> {
    const container = this.containers.resolve(id);
    const files = await this.open(container, FilesView.asSeen, this.readers.call(signal), signal);
    try {
      const { stat } = await look(files, absolutePath(toBytes(path)));
      // Like Docker, names the last component as the caller wrote it.
      return { ...stat, name: toText(baseName(toBytes(path))) };
    } catch (error) {
      throw ofFile(error, id, path);
    } finally {
      await files.close();
    }
  }

  async archive(id: string, path: string, signal?: AbortSignal): Promise<{ stat: PathStat; tar: Readable }> {
    const container = this.containers.resolve(id);
    const call = this.readers.call(signal);
    const files = await this.open(container, FilesView.asSeen, call, signal);
    try {
      const absolute = absolutePath(toBytes(path));
      const { stat } = await look(files, absolute);
      const base = baseName(absolute);
      const below = base === '/' ? '/' : `${base}/`;
      const tree = files.tree(absolute, { content: true });
      return {
        stat,
        tar: stream(
          files,
          tarOf(tree, (one) => (one === '' ? base : `${below}${one}`)),
          call,
        ),
      };
    } catch (error) {
      await files.close();
      throw ofFile(error, id, path);
    }
  }

  async extract(
    id: string,
    path: string,
    tar: Readable,
    options: { keepKind: boolean; asUser: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    const container = this.containers.resolve(id);
    const call = this.readers.call(signal);
    const files = await this.open(container, FilesView.asSeen, call, signal, true);
    const received = Readable.from(call.client.received(tar), { objectMode: false });
    // Errors are left to whoever reads the stream.
    received.on('error', () => undefined);
    try {
      const destination = await followLinks(files, cleanPath(toBytes(path)), 'error').catch((error: unknown) => {
        throw unresolved(error, path);
      });
      if (!isDirectory(await files.stat(destination))) throw new PortLayerError('files.notADirectory', { path });
      checkWritable(container, destination);
      const owner = options.asUser ? await userOf(files, container.spec.process.user) : null;
      await unpack(files, destination, received, { keepKind: options.keepKind, owner });
    } catch (error) {
      throw ofFile(error, id, path);
    } finally {
      await files.close();
      received.destroy();
      tar.destroy();
    }
  }

  async export(id: string, signal?: AbortSignal): Promise<Readable> {
    const call = this.readers.call(signal);
    const files = await this.open(this.containers.resolve(id), FilesView.ofDisk, call, signal);
    // The root itself has no entry.
    return stream(
      files,
      tarOf(files.tree('/', { content: true }), (path) => (path === '' ? null : path)),
      call,
    );
  }

  async changes(id: string, signal?: AbortSignal): Promise<FileChange[]> {
    return this.looking('the changes of container', CHANGES, id, signal, async (quiet, call) => {
      const changes: FileChange[] = [];
      const budget = new NameBudget();
      for await (const change of this.compare(id, quiet, call)) {
        budget.take(change.path);
        changes.push(shown(change));
      }
      return changes;
    });
  }

  async size(id: string, signal?: AbortSignal): Promise<number> {
    return this.looking('the size of container', SIZE, id, signal, (quiet, call) => this.count(id, quiet, call));
  }

  /** @param what what is being computed, for messages @throws timeout */
  private async looking<T>(
    what: string,
    patience: LookPatience,
    id: string,
    signal: AbortSignal | undefined,
    look: (quiet: Quiet, call: DiskCall) => Promise<T>,
  ): Promise<T> {
    const container = this.containers.resolve(id);
    const heard = (): number => container.channel?.heard() ?? call.heard;
    const quiet = new Quiet(`${what} ${id}`, patience, heard, signal);
    const call = this.readers.call(quiet.signal);
    try {
      return await quiet.run(() => look(quiet, call));
    } finally {
      quiet.close();
    }
  }

  private async count(id: string, quiet: Quiet, call: DiskCall): Promise<number> {
    let size = 0;
    /** Inodes of files with several names, which count once. */
    const counted = new Set<bigint>();
    const budget = new NameBudget();
    for await (const { entry } of this.compare(id, quiet, call)) {
      if (entry === null || !(isRegular(entry) || isSymlink(entry)) || counted.has(entry.ino)) continue;
      if (entry.nlink > 1) {
        budget.take('');
        counted.add(entry.ino);
      }
      size += entry.size;
    }
    return size;
  }

  /** What changed since the image, in path order. */
  private async *compare(id: string, quiet: Quiet, call: DiskCall): AsyncGenerator<TreeChange> {
    const { signal } = quiet;
    const container = this.containers.resolve(id);
    const files = await this.open(container, FilesView.ofDisk, call, signal);
    try {
      const image = await this.imageOf(container, call);
      try {
        const trees = [image, files]
          .map((root) => root.tree('/', { content: false }))
          .map((tree) => quiet.noting(tree));
        yield* compareTrees(trees[0]!, trees[1]!, { exact: false });
      } finally {
        await image.close();
      }
    } finally {
      await files.close();
    }
  }

  async layer(id: string, { freeze }: { freeze: boolean }, signal?: AbortSignal): Promise<Readable> {
    const container = this.containers.resolve(id);
    const call = this.readers.call(signal);
    const opened = await this.open(container, FilesView.ofDisk, call, signal);
    // A paused container's processes stand still anyway.
    const isStill = freeze || container.paused;
    let files = opened;
    try {
      const openDisk = async (): Promise<RootFiles> => call.open(await this.diskOf(container));
      const still = isStill ? await frozen(opened, opened instanceof GuestFiles ? openDisk : null) : null;
      files = still?.files ?? opened;
      const image = await this.imageOf(container, call);
      const tar = layerTar(image, files);
      const readable = stream(files, still === null ? tar : whileStill(tar, still.check), call);
      readable.once('close', () => void image.close());
      return readable;
    } catch (error) {
      await files.close();
      throw error instanceof FileError ? fileFailed(error) : error;
    }
  }

  async restoreLayer(id: string, tar: Readable, signal?: AbortSignal): Promise<void> {
    const container = this.containers.resolve(id);
    await container.settled();
    const release = await hold(container);
    try {
      if (container.state !== 'created') throw new PortLayerError('container.hasRun', { container: id });
      const layers = await this.layers.chainOf(container.spec.layer);
      const { datastore, spoolDir, room } = this;
      const openDisk = (file: string): ReturnType<Layers['openDisk']> => this.layers.openDisk(file);
      const path = `${vmDirectory(this.config, container.id)}/${container.id}.vmdk`;
      await writeChanges({ datastore, spoolDir, room, openDisk, layer: layers[0]!, path }, tar, signal);
    } finally {
      release();
      tar.destroy();
    }
  }

  /** The files of a container's image, to compare with. */
  private async imageOf({ id, spec }: Container, call: DiskCall): Promise<RootFiles> {
    const layers = await this.layers.chainOf(spec.layer);
    return call.open(this.source(`the image of container ${id}`, layers[0]!, layers));
  }

  /** A container's own disk. */
  private async diskOf({ id, spec }: Container): Promise<DiskSource> {
    const disk = `${vmDirectory(this.config, id)}/${id}.vmdk`;
    return this.source(`container ${id}`, disk, await this.layers.chainOf(spec.layer));
  }

  /** A disk with layers below it. */
  private source(what: string, path: string, layers: string[]): DiskSource {
    const openBlocks = (file: string): ReturnType<Layers['openBlocks']> => this.layers.openBlocks(file);
    return { what, path, layers, openBlocks, datastore: this.datastore, spoolDir: this.spoolDir, room: this.room };
  }

  /**
   * Opens the container's files; the caller closes them. Until then, a stopped container is not started.
   * @param write whether a stopped container's volumes are to be changed too
   */
  private async open(
    container: Container,
    view: number,
    call: DiskCall,
    signal?: AbortSignal,
    write = false,
  ): Promise<RootFiles> {
    await container.settled();
    if (container.running) {
      const leave = await this.visit(container);
      try {
        if (container.channel === null) throw new PortLayerError('container.notRunning', { container: container.id });
        return releasing(await GuestFiles.open(container.channel, view, signal), leave);
      } catch (error) {
        leave();
        // Its process has just ended: wait for the machine to be off, then read the disk.
        if (!isKind(error, 'conflict') || !(await container.until(() => !container.poweredOn, { ms: END_MS })))
          throw error;
      }
    }
    const release = await hold(container);
    try {
      if (container.state === 'removing' || container.state === 'dead')
        throw new PortLayerError('container.beingRemoved', { container: container.id, hinders: 'files' });
      if (!container.running) {
        const source = await this.diskOf(container);
        const openDisk = (): Promise<RootFiles> => call.open(source);
        if (container.state === 'created') {
          await makeInitLayer(openDisk, container.spec.createdAt);
          if (view === FilesView.asSeen) await makeDirectory(openDisk, container.spec.process.cwd);
        }
        const files = releasing(await openDisk(), release);
        if (view !== FilesView.asSeen || (container.spec.volumes ?? []).length === 0) return files;
        source.stepByStep = true;
        return await this.withVolumes(container, files, write, call, signal);
      }
    } catch (error) {
      release();
      throw error;
    }
    release();
    await sleep(RETRY_MS);
    return this.open(container, view, call, signal, write);
  }

  /** A stopped container's files together with its volumes. @param files closed if this fails */
  private async withVolumes(
    container: Container,
    files: RootFiles,
    write: boolean,
    call: DiskCall,
    signal?: AbortSignal,
  ): Promise<RootFiles> {
    const volumes = new OpenVolumes({
      use: this.volumeUse,
      besides: container.id,
      openDisk: (name) => call.open(this.volumes.source(name)),
      openRunning: (id) => this.open(this.containers.resolve(id), FilesView.asSeen, call, signal),
    });
    try {
      const mounts = await volumes.mounts(container.spec, write);
      const mounted = await MountedFiles.open(files, mounts);
      return releasing(mounted, () => volumes.close());
    } catch (error) {
      await volumes.close();
      await files.close();
      throw error;
    }
  }
}

/** @throws invalid for a place that nothing can be written to */
function checkWritable({ id, spec }: Container, destination: string): void {
  const inside = (spec.volumes ?? [])
    .filter(({ path }) => path === destination || destination.startsWith(`${path === '/' ? '' : path}/`))
    .sort((a, b) => b.path.length - a.path.length)[0];
  if (inside?.readOnly === true)
    throw new PortLayerError('container.volumeReadOnly', { container: id, volume: inside.volume });
  if (inside === undefined && spec.readOnlyRoot) throw new PortLayerError('container.rootReadOnly', { container: id });
}

/** An archive that is produced as it is read. The files are closed with it. */
function stream(files: RootFiles, tar: AsyncIterable<Buffer>, { client }: DiskCall): Readable {
  const readable = Readable.from(client.sent(tar), { objectMode: false, highWaterMark: 256 * 1024 });
  // Errors are left to whoever reads the stream.
  readable.on('error', () => undefined);
  client.serves((error) => readable.destroy(error));
  readable.once('close', () => void files.close());
  return readable;
}

/** Waits until nothing else changes the container. Resolves with a function that lets others continue. */
function hold(container: Container): Promise<() => void> {
  return new Promise((held) => {
    void container.exclusive(() => new Promise<void>((release) => held(release)));
  });
}

function releasing(files: RootFiles, release: () => void | Promise<void>): RootFiles {
  const close = files.close.bind(files);
  files.close = () => close().finally(release);
  return files;
}

/** What is at a path, with a symbolic link followed to its end. */
async function look(files: RootFiles, absolute: string): Promise<{ entry: FileEntry; stat: PathStat }> {
  const entry = await files.stat(absolute);
  const linkTarget = isSymlink(entry) ? toText(await followLinks(files, absolute, 'keep')) : '';
  const { size, mode, mtime } = entry;
  return { entry, stat: { name: toText(baseName(absolute)), size, mode, mtime, linkTarget } };
}

/** The error for a destination that could not be resolved. A missing one is left to {@link ofFile}. */
function unresolved(error: unknown, path: string): unknown {
  if (!(error instanceof FileError) || error.errno === Errno.ENOENT) return error;
  const { errno, reason } = error;
  return new PortLayerError('files.unresolved', { path, reason, tooManyLinks: errno === Errno.ELOOP }, error);
}

/** The caller's error for a failed operation on a file. */
function ofFile(error: unknown, container: string, path: string): unknown {
  if (!(error instanceof FileError)) return error;
  if (error.errno === Errno.ENOENT && error.operation === 'lstat')
    return new PortLayerError('files.notFound', { container, path }, error);
  return fileFailed(error);
}
