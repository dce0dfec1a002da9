/** Small values on the datastore: one file each, replaced whole. */
import { isKind } from '../../src/common/errors.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { KeyValueStore } from './types.js';

/** Keys are file names: letters, digits and `._-`. */
export class DatastoreKeyValueStore implements KeyValueStore {
  constructor(private readonly files: ImageStoreFiles) {}

  async get(key: string): Promise<Buffer | undefined> {
    try {
      return await this.files.datastore.read(this.path(key));
    } catch (error) {
      if (isKind(error, 'notFound')) return undefined;
      throw error;
    }
  }

  async put(key: string, value: Buffer): Promise<void> {
    await this.files.datastore.put(this.path(key), value);
  }

  async delete(key: string): Promise<void> {
    try {
      await this.files.datastore.delete(this.path(key));
    } catch (error) {
      if (!isKind(error, 'notFound')) throw error;
    }
  }

  keys(): Promise<string[]> {
    return this.files.list(`${this.files.root}/kv`);
  }

  private path(key: string): string {
    return `${this.files.root}/kv/${key.replace(/[^A-Za-z0-9._-]/g, '_')}`;
  }
}
