/** Checks volumes: what is recorded of each, and its disk. */
import { join, relative } from 'node:path';
import { z } from 'zod';
import { sha256 } from '../common/ids.js';
import type { Check } from './check.js';
import { checkDisk } from './disk.js';
import { type HostStore, jsonOf, namesIn, textOf } from './store-map.js';

/** As in `port-layer/storage/volume-disks.ts`. */
const volumeId = (name: string): string => sha256(`volume ${name}`);
const UNFINISHED = /^[0-9a-f]{64}\.(upload|removed)-[0-9a-f]+$/;
const volumeFile = z.object({ name: z.string().min(1), capacityBytes: z.number().min(0), mount: z.unknown().optional() });

/** @returns the names of the volumes that can be read */
export async function checkVolumes(check: Check, host: HostStore): Promise<Set<string>> {
  const directory = join(host.directory, 'volumes');
  const volumes = new Set<string>();
  const names = namesIn(directory);
  let done = 0;
  for (const id of names) {
    check.progress({ what: 'volumes', done: done++, all: names.length });
    const path = join(directory, id);
    const where = relative(check.store.paths.stateDir, path);
    if (UNFINISHED.test(id)) {
      unfinished(check, path, where);
      continue;
    }
    if (!/^[0-9a-f]{64}$/.test(id)) {
      check.skip(where, 'it is no volume');
      continue;
    }
    check.counts.volumes++;
    const name = await checkVolume(check, path, id);
    if (name !== null) volumes.add(name);
  }
  return volumes;
}

function unfinished(check: Check, path: string, where: string): void {
  check.leftover(
    {
      code: 'volume.unfinished',
      where,
      what: 'it is a volume that was being made or removed when the engine ended',
      means: 'it takes space; nothing uses it',
      todo: 'nothing: it is removed when the engine starts, or now with --repair',
      repair: { kind: 'remove', path },
    },
    'a volume may be being made or removed there',
  );
}

async function checkVolume(check: Check, path: string, id: string): Promise<string | null> {
  const where = relative(check.store.paths.stateDir, join(path, 'volume.json'));
  const parsed = volumeFile.safeParse(jsonOf(textOf(join(path, 'volume.json'))));
  const name = parsed.success && volumeId(parsed.data.name) === id ? parsed.data.name : null;
  if (name === null)
    check.find({
      code: 'volume.record',
      severity: 'damage',
      where,
      what: parsed.success
        ? `it is the record of another volume, '${parsed.data.name}'`
        : 'the record of a volume cannot be read',
      means: "its name is not known, and it is in no list; the volume's files are still there",
      todo: `write the file anew, in the form of other volumes' (name, createdAt, capacityBytes, driver, labels, options), or put the directory aside with --move-aside`,
      repair: { kind: 'aside', path },
    });
  // One that the guest mounts (tmpfs, NFS) has no disk.
  if (name !== null && parsed.data?.mount !== undefined) return name;
  await checkDisk(check, join(path, `${id}.vmdk`), {
    code: 'volume',
    what: name === null ? 'the disk of a volume' : `the disk of volume '${name}'`,
    means: 'containers that have the volume do not start, or see damaged files',
    todo: "restore the volume from a backup, or copy what can be read ('docker cp', 'qemu-img convert') to a new one",
    ...(parsed.success ? { capacity: parsed.data.capacityBytes } : {}),
  });
  return name;
}
