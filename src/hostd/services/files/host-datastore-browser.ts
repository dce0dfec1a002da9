/** HostDatastoreBrowser: looks for files of the datastore. */
import { join } from 'node:path';
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { DatastoreFiles } from '../../datastore/datastore-files.js';
import { entriesOf, listFiles, type SearchSpec } from '../../datastore/file-search.js';
import type { CallContext } from '../../objects/call-context.js';
import type { ManagedObject } from '../../objects/managed-object.js';
import { datastoreBrowserRef, datastoreRef } from '../../references.js';
import type { TaskManager } from '../tasks/task-manager.js';
import { DatastoreService } from './datastore-service.js';

export class HostDatastoreBrowser extends DatastoreService {
  /** @param datastore the managed object: the browser's tasks are tasks on it */
  constructor(
    private readonly datastore: ManagedObject,
    files: DatastoreFiles,
    tasks: TaskManager,
  ) {
    super('HostDatastoreBrowser', datastoreBrowserRef(datastore.ref.value).value, files, tasks);
  }

  protected override entity(): ManagedObject {
    return this.datastore;
  }

  override propertyNames(): string[] {
    return ['datastore', 'supportedType'];
  }

  override property(name: string): unknown {
    if (name === 'datastore') return [this.datastore.ref];
    return name === 'supportedType' ? [{ $type: 'FileQuery' }, { $type: 'FolderFileQuery' }] : undefined;
  }

  private datastoreOf(local: string): ManagedObjectReference {
    return datastoreRef(this.files.placeOf(local).name);
  }

  SearchDatastore_Task(
    args: { datastorePath: string; searchSpec?: SearchSpec },
    context: CallContext,
  ): ManagedObjectReference {
    return this.task('DatastoreBrowser.searchDatastore', context, async () => {
      const { datastorePath: path, searchSpec } = args;
      const local = await this.locate(path, 'read');
      const results = await listFiles(
        this.datastoreOf(local),
        path,
        searchSpec,
        local,
        await entriesOf(local, { count: 0 }),
      );
      return { $type: 'HostDatastoreBrowserSearchResults', ...results };
    });
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
        const entries = await entriesOf(local, found);
        results.push(await listFiles(this.datastoreOf(local), path, args.searchSpec, local, entries));
        for (const entry of entries) if (entry.isDirectory()) await visit(this.files.pathOf(join(local, entry.name)));
      };
      await visit(args.datastorePath);
      return { $type: 'ArrayOfHostDatastoreBrowserSearchResults', HostDatastoreBrowserSearchResults: results };
    });
  }
}
