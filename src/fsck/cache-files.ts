/** Checks what is in the cache directory, which hosts of one machine share: boot snapshots, and what endpoints were in the middle of. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../common/errors.js';
import { SnapshotFiles } from '../hostd/qemu/snapshot-files.js';
import type { Check } from './check.js';
import { isDirectory, jsonOf, namesIn, textOf } from './store-map.js';

const BUILDING = /\.(\d+)\.building$/;
const infoFile = z.object({
  digests: z.object({ memory: z.string(), state: z.string(), rehearsal: z.string() }),
});

/** @param directory the cache directory */
export async function checkCache(check: Check, directory: string): Promise<void> {
  const snapshots = join(directory, 'snapshots');
  const names = namesIn(snapshots);
  let done = 0;
  for (const name of names) {
    check.progress({ what: 'boot snapshots', done: done++, all: names.length });
    await checkSnapshot(check, join(snapshots, name), name);
  }
  for (const { id } of check.store.hosts) checkSpool(check, join(directory, 'spool', id));
}

async function checkSnapshot(check: Check, path: string, name: string): Promise<void> {
  const builder = BUILDING.exec(name)?.[1];
  if (builder !== undefined) {
    if (!existsSync(`/proc/${builder}`))
      check.find({
        code: 'snapshot.unfinished',
        severity: 'leftover',
        where: path,
        what: 'it is a boot snapshot that was being made when its host ended',
        means: 'it takes space; nothing uses it',
        todo: 'nothing: it is removed when a host starts, or now with --repair',
        repair: { kind: 'remove', path },
      });
    return;
  }
  const wrong = await wrongSnapshot(check, path);
  // A host that shares the directory may just have removed it.
  if (wrong === null || !existsSync(path)) return;
  check.find({
    code: 'snapshot.damaged',
    severity: 'damage',
    where: path,
    what: `a boot snapshot is damaged: ${wrong}`,
    means: 'hosts do not use it, and boot virtual machines instead until there is another one',
    todo: 'nothing: the next host that would use it removes it and makes a new one; --repair removes it now',
    repair: { kind: 'remove', path },
  });
}

/** Why a snapshot cannot be used; null if it can. */
async function wrongSnapshot(check: Check, path: string): Promise<string | null> {
  const info = infoFile.safeParse(jsonOf(textOf(join(path, 'info.json'))));
  if (!info.success) return 'its description cannot be read';
  let files: SnapshotFiles;
  try {
    files = await SnapshotFiles.open(path);
  } catch (error) {
    return messageOf(error);
  }
  try {
    if (check.options.quick === true) return null;
    const found = await files.digests();
    const other = (['memory', 'state', 'rehearsal'] as const).find((file) => found[file] !== info.data.digests[file]);
    return other === undefined ? null : `its ${other} is not what was stored`;
  } catch (error) {
    return messageOf(error);
  } finally {
    await files.close();
  }
}

/** What an endpoint downloads or writes before it goes to the datastore. */
function checkSpool(check: Check, directory: string): void {
  const files = namesIn(directory).flatMap((name) => {
    const path = join(directory, name);
    return isDirectory(path) ? namesIn(path).map((one) => join(path, one)) : [path];
  });
  for (const path of files)
    check.leftover(
      {
        code: 'spool.leftover',
        where: path,
        what: 'it is what the endpoint was downloading or writing when it ended',
        means: 'it takes space; nothing uses it',
        todo: 'nothing: it is removed when the engine starts, or now with --repair',
        repair: { kind: 'remove', path },
      },
      'the endpoint works with it',
    );
}
