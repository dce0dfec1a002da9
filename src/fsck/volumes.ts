/** Checks volumes: what is recorded of each, and its disk. */
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { sha256 } from '../common/ids.js';
import type { Check } from './check.js';
import { checkDisk } from './disk.js';
import { type HostStore, jsonOf, namesIn, textOf } from './store-map.js';

/** As in `port-layer/storage/volume-disks.ts`. */
const volumeId = (name: string): string => sha256(`volume ${name}`);
const UNFINISHED = /^[0-9a-f]{64}\.(upload|removed)-[0-9a-f]+$/;
const volumeFile = z.object({
  name: z.string().min(1),
  capacityBytes: z.number().min(0),
  /** It has no disk: the guest mounts it from a server, or as memory. */
  mount: z.unknown().optional(),
  snapshots: z.array(z.object({ name: z.string(), points: z.array(z.string()).min(1) })).optional(),
});
/** The frozen disks of snapshots and clones are here, beside the volumes. */
const POINTS = 'points';

/** @returns the names of the volumes that can be read */
export async function checkVolumes(check: Check, host: HostStore): Promise<Set<string>> {
  const directory = join(host.directory, 'volumes');
  const volumes = new Set<string>();
  const points = new Set<string>();
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
    if (id === POINTS) continue;
    if (!/^[0-9a-f]{64}$/.test(id)) {
      check.skip(where, 'it is no volume');
      continue;
    }
    check.counts.volumes++;
    const name = await checkVolume(check, path, id, points);
    if (name !== null) volumes.add(name);
  }
  await checkPoints(check, join(directory, POINTS), points);
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

/** @param points gets the disks that it, or a snapshot of it, stands on */
async function checkVolume(check: Check, path: string, id: string, points: Set<string>): Promise<string | null> {
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
  if (parsed.success && parsed.data.mount !== undefined) return name;
  const disk = join(path, `${id}.vmdk`);
  await keepPoints(check, disk, points);
  for (const { name: snapshot, points: below } of parsed.success ? (parsed.data.snapshots ?? []) : []) {
    const point = below[0]!;
    const frozen = join(path, '..', POINTS, `${point}.vmdk`);
    if (existsSync(frozen)) await keepPoints(check, frozen, points);
    else
      check.find({
        code: 'volume.snapshot',
        severity: 'damage',
        where,
        what: `the disk of snapshot '${snapshot}' is missing`,
        means: 'the snapshot can be neither cloned nor gone back to; the volume itself is not touched by this',
        todo: 'remove the snapshot',
      });
  }
  await checkDisk(check, disk, {
    code: 'volume',
    what: name === null ? 'the disk of a volume' : `the disk of volume '${name}'`,
    means: 'containers that have the volume do not start, or see damaged files',
    todo: "restore the volume from a backup, or copy what can be read ('docker cp', 'qemu-img convert') to a new one",
    ...(parsed.success ? { capacity: parsed.data.capacityBytes } : {}),
  });
  return name;
}

/** Notes a disk, if it is a point, and those below it. */
async function keepPoints(check: Check, disk: string, points: Set<string>): Promise<void> {
  if (!existsSync(disk) || (await check.disks.vmdk(disk)).info === null) return;
  for (const file of (await check.disks.chain(disk)).files) points.add(file);
}

/** @param needed those that a volume or a snapshot stands on */
async function checkPoints(check: Check, directory: string, needed: ReadonlySet<string>): Promise<void> {
  for (const name of namesIn(directory).filter((one) => one.endsWith('.vmdk'))) {
    const path = join(directory, name);
    if (needed.has(path))
      await checkDisk(check, path, {
        code: 'volume',
        what: 'the frozen disk of a snapshot or clone',
        means: 'volumes and snapshots that stand on it cannot be used, or show damaged files',
        todo: 'restore it from a backup, or copy what can be read of the volumes to new ones',
      });
    else
      check.leftover(
        {
          code: 'volume.point',
          where: relative(check.store.paths.stateDir, path),
          what: 'no volume and no snapshot stands on this disk',
          means: 'it takes space; nothing uses it',
          todo: 'nothing: it is removed when the engine starts, or now with --repair',
          repair: { kind: 'remove', path },
        },
        'a snapshot may be being made or removed',
      );
  }
}
