/** The files of a volume in memory whose container does not run: there are none, and nothing that is put there would be found again. */
import { Errno, type FileEntry, FileError, madeDirectory, type RootFiles } from './root-files.js';

/** See {@link RootFiles}. */
export class EmptyFiles implements RootFiles {
  async stat(path: string): Promise<FileEntry> {
    if (path !== '/') throw new FileError({ errno: Errno.ENOENT, operation: 'lstat', path });
    return { ...madeDirectory(path), mode: 0o41777 };
  }

  async *tree(path: string): AsyncGenerator<FileEntry> {
    yield { ...(await this.stat(path)), path: '' };
  }

  put({ path }: FileEntry): Promise<void> {
    return Promise.reject(new FileError({ errno: Errno.EROFS, operation: 'put', path }));
  }

  async data(): Promise<void> {}

  times({ path }: FileEntry): Promise<void> {
    return Promise.reject(new FileError({ errno: Errno.EROFS, operation: 'times', path }));
  }

  async finish(): Promise<void> {}

  async freeze(): Promise<void> {}

  async close(): Promise<void> {}
}
