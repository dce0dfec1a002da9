/** Files that readers find whole or not at all. */
import { rename, rm, writeFile } from 'node:fs/promises';

let drafts = 0;

/** Replaces a file in one step, also when others of this process replace it at the same time: one of them is the last. @param mode its permissions */
export async function writeWhole(path: string, content: string, mode = 0o644): Promise<void> {
  const draft = `${path}.${process.pid}-${++drafts}.new`;
  try {
    await writeFile(draft, content, { mode });
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw error;
  }
}
