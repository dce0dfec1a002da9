/** Checks the layers of images: what is recorded of each, its disk, its filesystem, and the tar it came as. */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../common/errors.js';
import { chainId, sha256 } from '../common/ids.js';
import { RECIPE_VERSION, type RecipeSource, tarFromRecipe } from '../disk/index.js';
import type { Check } from './check.js';
import { checkDisk } from './disk.js';
import { type HostStore, jsonOf, namesIn, textOf } from './store-map.js';

const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** The layer under containers whose image has none; see `port-layer/storage/layers.ts`. */
const EMPTY_LAYER = `sha256:${sha256('an empty layer')}`;

const layerFile = z.object({
  chainId: z.string().regex(DIGEST),
  parent: z.string().regex(DIGEST).nullable(),
  diffId: z.string().regex(DIGEST),
  size: z.number().min(0),
  disk: z.string().regex(DIGEST).optional(),
  recipe: z.object({ version: z.number(), tar: z.number(), recipe: z.number(), replaced: z.number() }).optional(),
  blob: z.object({ digest: z.string().regex(DIGEST), size: z.number().min(0) }).optional(),
});
export type Layer = z.infer<typeof layerFile>;

const hex = (chain: string): string => chain.replace(/^sha256:/, '');
const PULL = "remove the images that have it ('docker rmi'), and pull or build them again";

/** @returns the layers of a host by chain id, those that can be read */
export async function checkLayers(check: Check, host: HostStore): Promise<Map<string, Layer>> {
  const images = join(host.directory, 'images');
  const layers = new Map<string, Layer>();
  const names = namesIn(images);
  for (const name of names) {
    const path = join(images, name);
    if (/^[0-9a-f]{64}$/.test(name)) {
      const layer = readLayer(check, path, name);
      if (layer !== null) layers.set(layer.chainId, layer);
    } else halfMade(check, path);
  }
  let done = 0;
  for (const layer of layers.values()) {
    check.progress({ what: 'layers', done: done++, all: layers.size });
    check.counts.layers++;
    await checkLayer(check, images, layers, layer);
  }
  return layers;
}

function halfMade(check: Check, path: string): void {
  const where = relative(check.store.paths.stateDir, path);
  check.leftover(
    {
      code: 'layer.unfinished',
      where,
      what: 'it is what an interrupted pull, load or commit left',
      means: 'it takes space; nothing uses it',
      todo: 'nothing: it is removed when the engine starts, or now with --repair',
      repair: { kind: 'remove', path },
    },
    'a layer may be being stored there',
  );
}

function readLayer(check: Check, path: string, name: string): Layer | null {
  const where = relative(check.store.paths.stateDir, join(path, 'layer.json'));
  const damaged = (what: string): null => {
    check.find({
      code: 'layer.record',
      severity: 'damage',
      where,
      what,
      means: 'the endpoint does not know this layer; images and containers that stand on it cannot be used',
      todo: PULL,
      repair: { kind: 'aside', path },
    });
    return null;
  };
  const text = textOf(join(path, 'layer.json'));
  if (text === null) return damaged('the record of a layer is missing');
  const parsed = layerFile.safeParse(jsonOf(text));
  if (!parsed.success) return damaged('the record of a layer cannot be read');
  const layer = parsed.data;
  if (hex(layer.chainId) !== name) return damaged(`it is the record of another layer, ${layer.chainId}`);
  const expected = layer.chainId === EMPTY_LAYER ? EMPTY_LAYER : chainId(layer.parent, layer.diffId);
  if (expected !== layer.chainId) return damaged("the layer's parent and digest do not give its chain id");
  return layer;
}

async function checkLayer(check: Check, images: string, layers: Map<string, Layer>, layer: Layer): Promise<void> {
  const directory = join(images, hex(layer.chainId));
  const where = relative(check.store.paths.stateDir, directory);
  const broken = (code: string, what: string): void =>
    check.find({
      code,
      severity: 'damage',
      where,
      what,
      means: `images and containers on layer ${layer.chainId} cannot be used`,
      todo: PULL,
    });
  for (const [needed, as] of [
    [layer.parent, 'its parent'],
    [layer.disk ?? null, 'the layer whose disk it shares'],
  ] as const)
    if (needed !== null && !layers.has(needed)) return broken('layer.parent', `${as}, ${needed}, is missing`);
  const own = layer.disk === undefined;
  const diskLayer = hex(layer.disk ?? layer.chainId);
  const disk = join(images, diskLayer, `${diskLayer}.vmdk`);
  if (own) {
    const parent = layer.parent === null ? null : diskOf(images, layers, layer.parent);
    const sound = await checkDisk(check, disk, {
      code: 'layer',
      what: 'the disk of a layer',
      means: `images and containers on layer ${layer.chainId} cannot be used`,
      todo: PULL,
      parent,
    });
    if (!sound) return;
  } else if (!existsSync(disk) || (await check.disks.vmdk(disk)).problems.length > 0) return;
  await checkTar(check, directory, disk, layer);
  await checkBlob(check, directory, layer);
}

function diskOf(images: string, layers: Map<string, Layer>, chain: string): string {
  const name = hex(layers.get(chain)?.disk ?? chain);
  return join(images, name, `${name}.vmdk`);
}

/** What is kept of a layer's tar: the files are there and whole, and make a tar with the layer's digest. */
async function checkTar(check: Check, directory: string, disk: string, layer: Layer): Promise<void> {
  const { recipe } = layer;
  if (recipe === undefined || recipe.version !== RECIPE_VERSION) return;
  const where = relative(check.store.paths.stateDir, directory);
  const damaged = (what: string): void =>
    check.find({
      code: 'layer.tar',
      severity: 'damage',
      where,
      what,
      means: 'containers may run with wrong files, and the layer can be neither pushed nor saved',
      todo: PULL,
    });
  for (const [name, size] of [
    ['tar-recipe', recipe.recipe],
    ['tar-replaced', recipe.replaced],
  ] as const) {
    const found = statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? null;
    if (size === 0 && found === null) continue;
    if (found === null) return damaged(`${name}, from which its tar is made again, is missing`);
    if (found !== size) return damaged(`${name} has ${found} bytes, and was stored with ${size}`);
  }
  if (check.options.quick === true || layer.chainId === EMPTY_LAYER) return;
  if ((await check.disks.chain(disk)).problems.length > 0) return;
  try {
    const digest = await check.disks.withFilesystem(disk, async (filesystem) => {
      const hash = createHash('sha256');
      for await (const piece of tarFromRecipe(source(directory, recipe.replaced), filesystem, recipe.tar)) {
        hash.update(piece);
        check.counts.bytes += piece.length;
      }
      return `sha256:${hash.digest('hex')}`;
    });
    if (digest !== layer.diffId)
      damaged(`its files give a tar with the digest ${digest}, and it was stored with ${layer.diffId}`);
  } catch (error) {
    damaged(`its tar cannot be made again: ${messageOf(error)}`);
  }
}

/** What the layer was pulled as, where that is kept: without it, a push compresses the layer anew. */
async function checkBlob(check: Check, directory: string, { blob }: Layer): Promise<void> {
  if (blob === undefined) return;
  const path = join(directory, 'blob');
  const damaged = (what: string): void =>
    check.find({
      code: 'layer.blob',
      severity: 'damage',
      where: relative(check.store.paths.stateDir, path),
      what,
      means: 'the layer is used as before, but cannot be pushed with the digest that it was pulled with',
      todo: PULL,
    });
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? null;
  if (size === null) return damaged('the blob that was kept is missing');
  if (size !== blob.size) return damaged(`the blob that was kept has ${size} bytes, and was stored with ${blob.size}`);
  if (check.options.quick === true) return;
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(piece as Buffer);
    check.counts.bytes += (piece as Buffer).length;
  }
  const digest = `sha256:${hash.digest('hex')}`;
  if (digest !== blob.digest)
    damaged(`the blob that was kept has the digest ${digest}, and was stored as ${blob.digest}`);
}

function source(directory: string, replaced: number): RecipeSource {
  return {
    recipe: async () => createReadStream(join(directory, 'tar-recipe')),
    replaced:
      replaced === 0
        ? null
        : async (start, end) => createReadStream(join(directory, 'tar-replaced'), { start, end: end - 1 }),
  };
}

/** Layers that nothing needs. @param used chain ids that images and containers need */
export function checkUnusedLayers(
  check: Check,
  host: HostStore,
  layers: ReadonlyMap<string, Layer>,
  used: ReadonlySet<string>,
): void {
  const needed = new Set<string>([EMPTY_LAYER]);
  for (const chain of used)
    for (let layer = layers.get(chain); layer !== undefined && !needed.has(layer.chainId); ) {
      needed.add(layer.chainId);
      layer = layer.parent === null ? undefined : layers.get(layer.parent);
    }
  for (const layer of layers.values()) {
    if (needed.has(layer.chainId)) continue;
    const path = resolve(host.directory, 'images', hex(layer.chainId));
    const where = relative(check.store.paths.stateDir, path);
    check.leftover(
      {
        code: 'layer.unused',
        where,
        what: 'no image and no container needs this layer',
        means: 'it takes space, until the next pull of an image that has it',
        todo: 'nothing, or remove it with --repair',
        repair: { kind: 'remove', path },
      },
      'no image has this layer, which a pull may just have stored',
    );
  }
}
