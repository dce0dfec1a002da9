/** Errors of the file system as vim25 faults. */
import { fault } from '../faults.js';
import type { DatastorePaths } from './datastore-paths.js';

/** An error of the file system as a fault about the datastore's file; any other one as it is. */
export function fileFault(error: unknown, datastore: DatastorePaths): unknown {
  const { code, path } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || path === undefined || !datastore.places.some(({ directory }) => path.startsWith(directory)))
    return error;
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
