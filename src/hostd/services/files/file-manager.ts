/** FileManager: directories and files of the datastore. */
import { mkdir, rm, stat } from 'node:fs/promises';
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { DatastoreFiles } from '../../datastore/datastore-files.js';
import { copy, deleteTree, exists, move } from '../../datastore/file-changes.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { FILE_MANAGER } from '../../references.js';
import type { TaskManager } from '../tasks/task-manager.js';
import { DatastoreService } from './datastore-service.js';

export class FileManager extends DatastoreService {
  constructor(files: DatastoreFiles, tasks: TaskManager) {
    super('FileManager', FILE_MANAGER.value, files, tasks);
  }

  async MakeDirectory(args: { name: string; createParentDirectories?: boolean }): Promise<void> {
    const local = await this.locate(args.name, 'write');
    await this.named(() => mkdir(local, { recursive: args.createParentDirectories === true, mode: 0o755 }));
  }

  DeleteDatastoreFile_Task(args: { name: string }, context: CallContext): ManagedObjectReference {
    return this.task('FileManager.deleteFile', context, async () => {
      const local = await this.locate(args.name, 'write');
      if (this.files.isRoot(local))
        throw fault('InvalidDatastorePath', 'The datastore itself cannot be deleted', { datastorePath: args.name });
      await deleteTree(local);
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
      await move(from, to);
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
      await copy(from, to);
    });
  }
}
