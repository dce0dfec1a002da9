/** Files that readers find whole or not at all. */
import { rename, writeFile } from 'node:fs/promises';

/** Replaces a file in one step. @param mode its permissions */
export async function writeWhole(path: string, content: string, mode = 0o644): Promise<void> {
  const draft = `${path}.${process.pid}.new`;
  await writeFile(draft, content, { mode });
  await rename(draft, path);
}
