/** VirtualDiskManager: virtual disks of the datastore. */
import { createEmpty } from '../../../disk/index.js';
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { DatastoreFiles } from '../../datastore/datastore-files.js';
import { copy, deleteFile, exists } from '../../datastore/file-changes.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { VIRTUAL_DISK_MANAGER } from '../../references.js';
import type { TaskManager } from '../tasks/task-manager.js';
import { DatastoreService } from './datastore-service.js';

export class VirtualDiskManager extends DatastoreService {
  constructor(files: DatastoreFiles, tasks: TaskManager) {
    super('VirtualDiskManager', VIRTUAL_DISK_MANAGER.value, files, tasks);
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
      await deleteFile(await this.locate(args.name, 'write'));
    });
  }

  CopyVirtualDisk_Task(args: { sourceName: string; destName: string }, context: CallContext): ManagedObjectReference {
    return this.task('VirtualDiskManager.copyVirtualDisk', context, async () => {
      const [from, to] = await Promise.all([this.locate(args.sourceName, 'read'), this.locate(args.destName, 'write')]);
      if (await exists(to))
        throw fault('FileAlreadyExists', `File ${args.destName} already exists`, { file: args.destName });
      await copy(from, to);
    });
  }
}
