/** Carries out repairs. The host must not run: it keeps in memory what is changed here on disk. */
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { messageOf } from '../common/errors.js';
import { writeWhole } from '../common/write-whole.js';
import { parseDatastore } from '../hostd/datastore/datastore-places.js';
import { keptDatastores } from '../hostd/datastore/kept-datastores.js';
import type { Finding, Repair } from './finding.js';

/** A repair's result. */
export type Repaired =
  | { kind: 'left'; finding: Finding }
  | { kind: 'repaired'; finding: Finding; how: string }
  | { kind: 'failed'; finding: Finding; why: string };

export interface RepairOptions {
  /** Damaged data is put aside too. */
  moveAside: boolean;
}

/** Where damaged data is put, below the state directory. */
export const ASIDE = 'fsck-aside';

/** @param findings of a check of that state directory just now, made while the host did not run */
export async function repairStore(
  stateDir: string,
  findings: readonly Finding[],
  options: RepairOptions,
): Promise<Repaired[]> {
  const results: Repaired[] = [];
  const gone: string[] = [];
  for (const finding of findings) {
    const { repair } = finding;
    if (repair === undefined || (repair.kind === 'aside' && !options.moveAside)) {
      results.push({ kind: 'left', finding });
      continue;
    }
    try {
      // Several things may be wrong with what one of them puts away.
      const away = gone.some((path) => repair.path === path || repair.path.startsWith(`${path}/`));
      const how = away ? 'it was put away with what it belongs to' : await carryOut(stateDir, repair);
      if (repair.kind !== 'unlist') gone.push(repair.path);
      results.push({ kind: 'repaired', finding, how });
    } catch (error) {
      results.push({ kind: 'failed', finding, why: messageOf(error) });
    }
  }
  return results;
}

async function carryOut(stateDir: string, repair: Repair): Promise<string> {
  const { kind, path } = repair;
  if (kind === 'remove') {
    await rm(path, { recursive: true });
    return 'removed';
  }
  if (kind === 'unlist') {
    await unlist(path, repair.list, repair.entry);
    return 'taken out of the record';
  }
  // Within its own datastore, which may be another filesystem.
  const other = keptDatastores({ stateDir })
    .map(parseDatastore)
    .find(({ directory }) => path.startsWith(`${directory}/`));
  const root = other?.directory ?? stateDir;
  const place = join(root, ASIDE, relative(root, dirname(path)));
  await mkdir(place, { recursive: true, mode: 0o700 });
  const target = join(place, `${basename(path)}.${Date.now()}`);
  await rename(path, target);
  return `put aside as ${relative(stateDir, target)}`;
}

/** @throws internal for a file that has changed since, so that there is no such list */
async function unlist(path: string, list: string, entry: string): Promise<void> {
  const content = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  const held = (list === '' ? content : content[list]) as unknown[] | Record<string, unknown>;
  if (Array.isArray(held))
    content[list] = held.filter((one) => one !== entry && (one as { id?: unknown } | null)?.id !== entry);
  else delete held[entry];
  await writeWhole(path, JSON.stringify(content), 0o600);
}
