/** Checks the small records of a virtual container host: images and their references, and whatever else is kept by name. */
import { join, relative } from 'node:path';
import { z } from 'zod';
import { chainId, sha256 } from '../common/ids.js';
import type { Check } from './check.js';
import type { Layer } from './layers.js';
import { type HostStore, jsonOf, namesIn, textOf } from './store-map.js';

/** As in `appliance/image/image-store.ts`; fields that it may have besides do not matter here. */
const indexFile = z.object({
  version: z.literal(1),
  images: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)),
  references: z.record(z.string(), z.string()),
});
const configFile = z.object({ rootfs: z.object({ diff_ids: z.array(z.string()) }) });

/** What containers are there, for records that belong to one. */
export interface KnownContainers {
  ids: ReadonlySet<string>;
  /** Whether every VM of the host could be read. */
  complete: boolean;
}

/** @returns chain ids of the last layers of all images */
export function checkImages(
  check: Check,
  host: HostStore,
  layers: ReadonlyMap<string, Layer>,
  containers: KnownContainers,
): Set<string> {
  const directory = join(host.directory, 'kv');
  const path = join(directory, 'images');
  const where = relative(check.store.paths.stateDir, path);
  const text = textOf(path);
  const used = new Set<string>();
  const parsed = text === null ? null : indexFile.safeParse(jsonOf(text));
  if (parsed !== null && !parsed.success) {
    check.find({
      code: 'image.index',
      severity: 'damage',
      where,
      what: 'the record of images cannot be read',
      means: 'the endpoint does not start; the layers themselves are not touched by this',
      todo: 'put the file aside with --repair --move-aside, start the engine, and pull the images again: layers that are there are not fetched',
      repair: { kind: 'aside', path },
    });
    // Which layers and records are needed is not known.
    for (const layer of layers.keys()) used.add(layer);
    return used;
  }
  const index = parsed?.data ?? { images: [], references: {} };
  for (const id of index.images) {
    check.counts.images++;
    for (const chain of checkImage(check, directory, id, layers)) used.add(chain);
  }
  const known = new Set(index.images);
  for (const [name, id] of Object.entries(index.references))
    if (!known.has(id))
      check.find({
        code: 'image.reference',
        severity: 'damage',
        where,
        what: `the name ${name} means image ${id}, which is not in the list of images`,
        means: 'the name is not known any more',
        todo: 'pull or build the image again; --repair removes the name',
        repair: { kind: 'unlist', path, list: 'references', entry: name },
      });
  checkOthers(check, directory, known, containers);
  return used;
}

/** @returns the chain ids of its layers */
function checkImage(check: Check, directory: string, id: string, layers: ReadonlyMap<string, Layer>): string[] {
  const path = join(directory, `image-${id.slice('sha256:'.length)}`);
  const damaged = (what: string, code: string): void =>
    check.find({
      code,
      severity: 'damage',
      where: relative(check.store.paths.stateDir, path),
      what,
      means: `image ${id} is not in the list of images, and no container can be made from it`,
      todo: 'pull or build the image again',
    });
  const text = textOf(path);
  if (text === null) {
    damaged('the configuration of an image is missing', 'image.config');
    return [];
  }
  const parsed = configFile.safeParse(jsonOf(text));
  // What is read as text may differ from its bytes only where these are no UTF-8, which JSON is.
  if (`sha256:${sha256(text)}` !== id || !parsed.success) {
    damaged('the configuration of an image is not the one with its digest', 'image.config');
    return [];
  }
  const chain: string[] = [];
  for (const diffId of parsed.data.rootfs.diff_ids) chain.push(chainId(chain.at(-1) ?? null, diffId));
  const missing = chain.find((layer) => !layers.has(layer));
  if (missing !== undefined) damaged(`its layer ${missing} is missing, or cannot be read`, 'image.layer');
  return chain;
}

/** Records that belong to an image or to a container. */
const BELONGS: [RegExp, 'image' | 'container'][] = [
  [/^image-([0-9a-f]{64})$/, 'image'],
  [/^manifest-([0-9a-f]{64})$/, 'image'],
  [/^health\.([0-9a-f]{64})$/, 'container'],
  [/^syslog\.([0-9a-f]{64})$/, 'container'],
];
/** Records in JSON that the endpoint can do without. */
const SPARE = ['blob-sources', 'policy-names.json'];

function checkOthers(check: Check, directory: string, images: ReadonlySet<string>, containers: KnownContainers): void {
  for (const name of namesIn(directory)) {
    const path = join(directory, name);
    const where = relative(check.store.paths.stateDir, path);
    if (SPARE.includes(name) && jsonOf(textOf(path)) === undefined)
      check.find({
        code: 'record.unreadable',
        severity: 'damage',
        where,
        what: 'the record cannot be read',
        means: 'the endpoint goes on without what was in it, which only saves work',
        todo: 'nothing; --repair removes it',
        repair: { kind: 'remove', path },
      });
    for (const [pattern, kind] of BELONGS) {
      const id = pattern.exec(name)?.[1];
      if (id === undefined) continue;
      const there = kind === 'image' ? images.has(`sha256:${id}`) : !containers.complete || containers.ids.has(id);
      if (there) continue;
      check.leftover(
        {
          code: 'record.orphan',
          where,
          what: `it belongs to ${kind} ${id.slice(0, 12)}, which is not there`,
          means: 'it takes space; nothing uses it',
          todo: 'nothing, or remove it with --repair',
          repair: { kind: 'remove', path },
        },
        `its ${kind} is not known, and may just be being stored or removed`,
      );
    }
  }
}
