/** FileManager, VirtualDiskManager and HostDatastoreBrowser: files of the datastore. */
import type { Dirent } from 'node:fs';
import { copyFile, mkdir, opendir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { matchesGlob } from '../../common/glob.js';
import { createEmpty } from '../../disk/vmdk/create.js';
import type { ManagedObjectReference } from '../../vim25/types.generated.js';
import { restrictedCaller } from '../access/caller.js';
import type { Need } from '../datastore/file-access.js';
import { copyRecord, forgetRecord, moveRecord } from '../disks/disk-records.js';
import { fault } from '../faults.js';
import { isOwnFile } from '../datastore/own-files.js';
import type { CallContext } from './session-manager.js';
import { DATASTORE, type Datastore } from '../inventory/datastore.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { TaskManager } from './task-manager.js';

const MAX_PATTERNS = 50;
const MAX_PATTERN = 255;
/** What is found is kept with its task. */
const MAX_FOUND = 200_000;
/** Files that are looked at before others have their turn. */
const AT_ONCE = 200;

abstract class FileObject extends ManagedObject {
  constructor(
    type: string,
    id: string,
    protected readonly datastore: Datastore,
    protected readonly tasks: TaskManager,
  ) {
    super(type, id);
  }

  override get types(): string[] {
    return [this.ref.type];
  }

  property(name: string): unknown {
    return name === 'datastore' ? [this.datastore.ref] : undefined;
  }

  propertyNames(): string[] {
    return [];
  }

  /** What its tasks are on: a task's entity can be a managed entity only. */
  protected entity(): ManagedObject {
    return this;
  }

  protected locate(path: string, need: Need): Promise<string> {
    return this.datastore.locate(path, need);
  }

  protected task(operation: string, context: CallContext, body: () => Promise<unknown>): ManagedObjectReference {
    return this.tasks.run(operation, this.entity(), DATASTORE, context.userName, () => this.named(body));
  }

  /** Faults of files name them as clients do, and no path of this machine. */
  protected async named<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw fileFault(error, this.datastore);
    }
  }
}

/** Directories and files. */
export class FileManager extends FileObject {
  constructor(datastore: Datastore, tasks: TaskManager) {
    super('FileManager', 'ha-nfc-file-manager', datastore, tasks);
  }

  async MakeDirectory(args: { name: string; createParentDirectories?: boolean }): Promise<void> {
    const local = await this.locate(args.name, 'write');
    await this.named(() => mkdir(local, { recursive: args.createParentDirectories === true, mode: 0o755 }));
  }

  DeleteDatastoreFile_Task(args: { name: string }, context: CallContext): ManagedObjectReference {
    return this.task('FileManager.deleteFile', context, async () => {
      const local = await this.locate(args.name, 'write');
      if (local === this.datastore.directory)
        throw fault('InvalidDatastorePath', 'The datastore itself cannot be deleted', { datastorePath: args.name });
      await stat(local);
      await rm(local, { recursive: true });
      await forgetRecord(local);
    });
  }

  MoveDatastoreFile_Task(
    args: { sourceName: string; destinationName: string; force?: boolean },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('FileManager.move', context, async () => {
      const [from, to] = await Promise.all([
        this.locate(args.sourceName, 'write'),
        this.locate(args.destinationName, 'write'),
      ]);
      await stat(from);
      if (await exists(to)) {
        if (args.force !== true)
          throw fault('FileAlreadyExists', `File ${args.destinationName} already exists`, {
            file: args.destinationName,
          });
        await rm(to, { recursive: true });
      }
      await rename(from, to);
      await moveRecord(from, to);
    });
  }

  CopyDatastoreFile_Task(
    args: { sourceName: string; destinationName: string; force?: boolean },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('FileManager.copy', context, async () => {
      const [from, to] = await Promise.all([
        this.locate(args.sourceName, 'read'),
        this.locate(args.destinationName, 'write'),
      ]);
      if (args.force !== true && (await exists(to)))
        throw fault('FileAlreadyExists', `File ${args.destinationName} already exists`, { file: args.destinationName });
      await copyFile(from, to);
      await copyRecord(from, to);
    });
  }
}

/** Disks. */
export class VirtualDiskManager extends FileObject {
  constructor(datastore: Datastore, tasks: TaskManager) {
    super('VirtualDiskManager', 'ha-vdiskmanager', datastore, tasks);
  }

  CreateVirtualDisk_Task(
    args: { name: string; spec: { capacityKb?: number } },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('VirtualDiskManager.createVirtualDisk', context, async () => {
      await createEmpty(await this.locate(args.name, 'write'), (args.spec.capacityKb ?? 0) * 1024);
      return args.name;
    });
  }

  DeleteVirtualDisk_Task(args: { name: string }, context: CallContext): ManagedObjectReference {
    return this.task('VirtualDiskManager.deleteVirtualDisk', context, async () => {
      const local = await this.locate(args.name, 'write');
      await rm(local);
      await forgetRecord(local);
    });
  }

  CopyVirtualDisk_Task(args: { sourceName: string; destName: string }, context: CallContext): ManagedObjectReference {
    return this.task('VirtualDiskManager.copyVirtualDisk', context, async () => {
      const [from, to] = await Promise.all([this.locate(args.sourceName, 'read'), this.locate(args.destName, 'write')]);
      if (await exists(to))
        throw fault('FileAlreadyExists', `File ${args.destName} already exists`, { file: args.destName });
      await copyFile(from, to);
      await copyRecord(from, to);
    });
  }
}

interface SearchSpec {
  matchPattern?: string[];
  details?: { fileType?: boolean; fileSize?: boolean; modification?: boolean };
}

/** Looks for files. */
export class HostDatastoreBrowser extends FileObject {
  constructor(datastore: () => Datastore, tasks: TaskManager) {
    super('HostDatastoreBrowser', 'ha-datastorebrowser', undefined as never, tasks);
    Object.defineProperty(this, 'datastore', { get: datastore });
  }

  protected override entity(): ManagedObject {
    return this.datastore;
  }

  override propertyNames(): string[] {
    return ['datastore', 'supportedType'];
  }

  override property(name: string): unknown {
    return name === 'supportedType' ? [{ $type: 'FileQuery' }, { $type: 'FolderFileQuery' }] : super.property(name);
  }

  SearchDatastore_Task(
    args: { datastorePath: string; searchSpec?: SearchSpec },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('DatastoreBrowser.searchDatastore', context, async () => ({
      $type: 'HostDatastoreBrowserSearchResults',
      ...(await this.search(args.datastorePath, args.searchSpec)),
    }));
  }

  SearchDatastoreSubFolders_Task(
    args: { datastorePath: string; searchSpec?: SearchSpec },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('DatastoreBrowser.searchDatastoreSubFolders', context, async () => {
      const results: object[] = [];
      const found = { count: 0 };
      const visit = async (path: string): Promise<void> => {
        const local = await this.locate(path, 'read');
        const entries = await this.entries(local, found);
        results.push(await this.list(path, args.searchSpec, local, entries));
        for (const entry of entries)
          if (entry.isDirectory()) await visit(this.datastore.pathOf(join(local, entry.name)));
      };
      await visit(args.datastorePath);
      return { $type: 'ArrayOfHostDatastoreBrowserSearchResults', HostDatastoreBrowserSearchResults: results };
    });
  }

  private async search(path: string, spec?: SearchSpec): Promise<object> {
    const local = await this.locate(path, 'read');
    return this.list(path, spec, local, await this.entries(local, { count: 0 }));
  }

  /** What is in a directory. @param found counts for the whole search @throws LimitExceeded */
  private async entries(local: string, found: { count: number }): Promise<Dirent[]> {
    const entries: Dirent[] = [];
    for await (const entry of await opendir(local)) {
      if (++found.count > MAX_FOUND && restrictedCaller() !== undefined)
        throw fault('LimitExceeded', `A search finds at most ${MAX_FOUND} files`, {
          property: 'file',
          limit: MAX_FOUND,
        });
      entries.push(entry);
    }
    return entries;
  }

  private async list(
    path: string,
    spec: SearchSpec | undefined,
    local: string,
    all: readonly Dirent[],
  ): Promise<object> {
    const patterns = spec?.matchPattern ?? ['*'];
    if (patterns.length > MAX_PATTERNS || patterns.some(({ length }) => length > MAX_PATTERN))
      throw fault('InvalidArgument', `A search has at most ${MAX_PATTERNS} patterns of ${MAX_PATTERN} characters`, {
        invalidProperty: 'searchSpec.matchPattern',
      });
    const file: object[] = [];
    for (let at = 0; at < all.length; at += AT_ONCE) {
      const entries = all
        .slice(at, at + AT_ONCE)
        .filter((entry) => !isOwnFile(entry.name) && patterns.some((pattern) => matchesGlob(entry.name, pattern)));
      const infos = await Promise.all(entries.map((entry) => stat(join(local, entry.name)).catch(() => null)));
      for (const [index, entry] of entries.entries())
        file.push({
          $type: entry.isDirectory() ? 'FolderFileInfo' : 'FileInfo',
          path: entry.name,
          fileSize: infos[index]?.size ?? 0,
          modification: infos[index]?.mtime ?? new Date(0),
        });
      await setImmediate();
    }
    return {
      datastore: this.datastore.ref,
      folderPath: path.endsWith('/') || path.endsWith(']') ? path : `${path}/`,
      file,
    };
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** An error of the file system as a fault about the datastore's file; any other one as it is. */
function fileFault(error: unknown, datastore: Datastore): unknown {
  const { code, path } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || path === undefined || !path.startsWith(datastore.directory)) return error;
  const file = datastore.pathOf(path);
  switch (code) {
    case 'ENOENT':
      return fault('FileNotFound', `File ${file} was not found`, { file });
    case 'EEXIST':
    case 'ENOTEMPTY':
      return fault('FileAlreadyExists', `File ${file} already exists`, { file });
    case 'ENOTDIR':
      return fault('NotADirectory', `${file} is not a directory`, { file });
    case 'ENOSPC':
      return error;
    default:
      return fault('CannotAccessFile', `Unable to access file ${file} (${code})`, { file });
  }
}
