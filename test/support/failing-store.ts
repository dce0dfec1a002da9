/**
 * An image store in a local directory whose writes can go wrong: one at a time, as a test says. Every change is one step for its client, as on a
 * real host; only the removal of a directory takes many.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageStoreFiles } from '../../port-layer/storage/image-store-files.js';
import { insufficientResources, unavailable } from '../../src/common/errors.js';
import { localStore } from './local-store.js';

/**
 * What becomes of a write. `fail`: it is refused, because the disk is full. `lose`: it is done, and its answer is lost. `die`, `dieAfter`: the
 * client is killed before it or after it. `tear`: as `die`, but a directory that is being removed loses one of its files first.
 */
export type Trouble = 'fail' | 'lose' | 'die' | 'dieAfter' | 'tear';
export const TROUBLES: readonly Trouble[] = ['fail', 'lose', 'die', 'dieAfter', 'tear'];

/** A write, as a test is told of it. */
export type Write = 'put' | 'delete' | 'makeDirectory' | 'move' | 'remove';

/**
 * The store as one client has it; one that was killed can neither write nor read any more.
 * @param before is asked before each write what is to become of it; null: it is done
 */
export function failingStore(
  directory: string,
  root: string,
  before: (what: Write) => Trouble | null,
): ImageStoreFiles {
  const store = localStore(directory, root);
  const { datastore } = store;
  let dead = false;
  const alive = (): void => {
    if (dead) throw unavailable('killed');
  };
  const write = async <T>(what: Write, body: () => Promise<T>, torn?: () => Promise<void>): Promise<T> => {
    alive();
    const trouble = before(what);
    if (trouble === 'fail') throw insufficientResources('no space left on device');
    if (trouble === 'tear') await torn?.();
    dead ||= trouble === 'die' || trouble === 'tear';
    alive();
    const done = await body();
    dead ||= trouble === 'dieAfter';
    if (trouble === 'lose' || dead) throw unavailable('the connection was closed');
    return done;
  };
  const reading =
    <A extends unknown[], T>(body: (...args: A) => Promise<T>) =>
    async (...args: A): Promise<T> => {
      alive();
      return body(...args);
    };
  const files = {
    ...store,
    datastore: {
      ...datastore,
      get: reading(datastore.get),
      read: reading(datastore.read),
      size: reading(datastore.size),
      put: (...args: Parameters<typeof datastore.put>) => write('put', () => datastore.put(...args)),
      delete: (path: string) => write('delete', () => rm(join(directory, path), { force: true })),
    },
    list: reading(store.list),
    makeDirectory: (path: string) => write('makeDirectory', () => store.makeDirectory(path)),
    move: (from: string, to: string) => write('move', () => store.move(from, to)),
    remove: (path: string) =>
      write(
        'remove',
        () => store.remove(path),
        async () => {
          const local = join(directory, path);
          const [first] = (await readdir(local).catch(() => [])).sort();
          if (first !== undefined) await rm(join(local, first), { recursive: true });
        },
      ),
  };
  return files as unknown as ImageStoreFiles;
}

/** A directory of its own for each start of a client. */
export async function freshDirectory(parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await mkdir(path, { recursive: true });
  return path;
}
