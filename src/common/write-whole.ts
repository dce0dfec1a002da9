/** Writing files so that readers find them whole or not at all. */
import { rename, rm, writeFile } from 'node:fs/promises';

let drafts = 0;

/** Replaces a file in one step, even if this process replaces it several times at once: one of them comes last. @param mode its permissions */
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
