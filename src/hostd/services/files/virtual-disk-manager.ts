/** VirtualDiskManager: virtual disks of the datastore. */
import { createEmpty } from '../../../disk/index.js';
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { DatastoreFiles } from '../../datastore/datastore-files.js';
import { copy, deleteFile, exists } from '../../datastore/file-changes.js';
import { createDisk, enlargeDisk, replaceDisk } from '../../disks/disk-files.js';
import { imagesOf } from '../../disks/disk-records.js';
import { copyDown, moveUp } from '../../disks/merge-disks.js';
import { type DiskWriter, makePoint, mayStandOnPoint, pointsOf, settleSwitch } from '../../disks/point-disks.js';
import { fault } from '../../faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { VIRTUAL_DISK_MANAGER } from '../../references.js';
import type { TaskManager } from '../tasks/task-manager.js';
import { DatastoreService } from './datastore-service.js';

/** VMs that may be using a disk. */
export interface DiskUsers {
  /** Runs `body` while no VM starts or stops that has the disk for writing. @param path local */
  withDisk<T>(path: string, body: (writer: DiskWriter | null) => Promise<T>): Promise<T>;
  /** Whether a running VM has it, to write or only to read. */
  isOpen(path: string): boolean;
  /** Running VMs let go of files that their disks do not stand on since another disk took the place of `moved`. */
  relink(moved: string): Promise<void>;
}

export class VirtualDiskManager extends DatastoreService {
  constructor(
    files: DatastoreFiles,
    tasks: TaskManager,
    private readonly machines: DiskUsers,
  ) {
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

  /** Larger only, and while no running VM writes to it. */
  ExtendVirtualDisk_Task(args: { name: string; newCapacityKb: number }, context: CallContext): ManagedObjectReference {
    return this.task('VirtualDiskManager.extendVirtualDisk', context, async () => {
      const path = await this.locate(args.name, 'write');
      if (pointsOf(path) !== null || imagesOf(path) !== null)
        throw fault('NotSupported', 'Other disks stand on this one');
      await this.machines.withDisk(path, async (writer) => {
        if (writer !== null) throw fault('FileLocked', `File ${args.name} is in use`, { file: args.name });
        await settleSwitch(path, []);
        await enlargeDisk(path, args.newCapacityKb * 1024);
      });
    });
  }

  /**
   * Of the type `delta`, the copy shares its content with the source, whatever the size. Between a volume's disk and a point of it
   * (`point-disks.ts`): a copy to a point freezes the content, and the source stands on the point from then on, also while a VM
   * writes to it. A copy of a point stands on the point. A copy to a point that is there (`force`) puts what the source has in itself into
   * it (`merge-disks.ts`), and one of a point to a volume's disk that is there replaces it: the volume goes back to what the point has.
   */
  CopyVirtualDisk_Task(
    args: { sourceName: string; destName: string; destSpec?: { diskType?: string }; force?: boolean },
    context: CallContext,
  ): ManagedObjectReference {
    const shared = args.destSpec?.diskType === 'delta';
    return this.task('VirtualDiskManager.copyVirtualDisk', context, async () => {
      const [from, to] = await Promise.all([
        this.locate(args.sourceName, shared ? 'write' : 'read'),
        this.locate(args.destName, 'write'),
      ]);
      if (shared && args.force === true && (await exists(to))) {
        if (pointsOf(to) !== null) return this.unused(from, args.sourceName, () => copyDown(from, to));
        if (pointsOf(from) !== null && mayStandOnPoint(to, from))
          return this.unused(to, args.destName, () => replaceDisk(to, from));
      }
      if (await exists(to))
        throw fault('FileAlreadyExists', `File ${args.destName} already exists`, { file: args.destName });
      if (!shared) await copy(from, to);
      else if (mayStandOnPoint(from, to) && pointsOf(from) === null)
        await this.machines.withDisk(from, (writer) => makePoint(from, to, writer));
      else if (mayStandOnPoint(to, from)) await createDisk(to, from, 0);
      else
        throw fault(
          'NotSupported',
          'A copy of the type delta is for the disk of a volume and a point beside its directory',
        );
    });
  }

  /** Puts a point into the place of a disk that was copied into it (`merge-disks.ts`). */
  MoveVirtualDisk_Task(
    args: { sourceName: string; destName: string; force?: boolean },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('VirtualDiskManager.moveVirtualDisk', context, async () => {
      const [from, to] = await Promise.all([
        this.locate(args.sourceName, 'write'),
        this.locate(args.destName, 'write'),
      ]);
      if (pointsOf(from) === null || args.force !== true || !mayStandOnPoint(to, from))
        throw fault('NotSupported', 'Only a point can take the place of a disk that stands on it');
      await this.unused(to, args.destName, () => moveUp(from, to));
      await this.machines.relink(to);
    });
  }

  /** Runs `body` while no VM has the disk itself; those whose disks stand on it may run. */
  private unused(path: string, name: string, body: () => Promise<void>): Promise<void> {
    return this.machines.withDisk(path, async (writer) => {
      if (writer !== null || this.machines.isOpen(path))
        throw fault('FileLocked', `File ${name} is in use`, { file: name });
      await body();
    });
  }
}
