/** The operations that hostd implements, by class. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { operationNames } from '../../src/vim25/table.js';

const ROOT = fileURLToPath(new URL('../../src/hostd', import.meta.url));
const DIRECTORIES = ['inventory', 'objects', 'server', 'services', 'vm'];

/**
 * Class names (those of the managed objects, except for `SimpleObject`) and their operations.
 * @throws Error for a class that is not exported, as it could not be inspected
 */
export async function implementedOperations(): Promise<[type: string, operation: string][]> {
  const operations = new Set(operationNames());
  const found: [string, string][] = [];
  for (const directory of DIRECTORIES) {
    for (const file of await readdir(join(ROOT, directory), { recursive: true })) {
      if (!file.endsWith('.ts')) continue;
      const path = join(ROOT, directory, file);
      const hidden = /^class \w+ extends (?:ManagedObject|SimpleObject|View|DatastoreService)\b.*/m.exec(
        await readFile(path, 'utf8'),
      );
      if (hidden !== null) throw new Error(`${file}: '${hidden[0]}' is not exported`);
      const module = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
      for (const exported of Object.values(module)) {
        if (typeof exported !== 'function') continue;
        let at = exported.prototype as object | null | undefined;
        for (; at !== null && at !== undefined; at = Object.getPrototypeOf(at) as object | null)
          for (const name of Object.getOwnPropertyNames(at))
            if (operations.has(name)) found.push([exported.name, name]);
      }
    }
  }
  return found;
}
