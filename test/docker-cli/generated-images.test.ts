/**
 * Randomly generated images, pulled and inspected. `CAISSON_GENERATED_IMAGES` says how many (12 by default, 200 for the
 * proof under load), `CAISSON_GENERATED_SEED` the first seed.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { type FaultyRegistry, startFaultyRegistry } from '../support/registry/faulty-registry.js';
import { generateImage, type Tree } from '../support/registry/generated-image.js';
import { type Stack, startStack } from '../support/stack.js';

const COUNT = Number(process.env.CAISSON_GENERATED_IMAGES ?? 12);
const SEED = Number(process.env.CAISSON_GENERATED_SEED ?? 1);
/** With many images, only some are inspected. */
const LOOK_AT = Math.ceil(COUNT / 25);

let registry: FaultyRegistry;
let stack: Stack;

beforeAll(async () => {
  registry = await startFaultyRegistry({ images: {} });
  stack = await startStack();
});

afterAll(async () => {
  await stack?.stop();
  await registry?.stop();
});

/** Everything below a directory, except what the engine adds to every container. */
function treeOf(root: string, below = ''): Tree {
  const tree: Tree = new Map();
  for (const name of readdirSync(join(root, below))) {
    const path = join(below, name);
    if (below === '' && !/^d\d$/.test(name)) continue;
    const stat = lstatSync(join(root, path));
    if (stat.isSymbolicLink()) tree.set(path, `l ${readlinkSync(join(root, path))}`);
    else if (stat.isFile())
      tree.set(
        path,
        `f ${stat.size} ${createHash('sha256')
          .update(readFileSync(join(root, path)))
          .digest('hex')}`,
      );
    else {
      tree.set(path, 'd');
      for (const entry of treeOf(root, path)) tree.set(...entry);
    }
  }
  return tree;
}

/** Pulls the image of a seed, and checks a container of it. */
async function tryOne(seed: number, lane: number, look: boolean): Promise<void> {
  const { image, tree, about } = generateImage(seed);
  registry.images[`generated-${lane}:latest`] = image;
  const name = `${registry.address}/generated-${lane}`;
  const { stdout, stderr, code } = await stack.docker('pull', name);
  expect(code, `${about}: ${stdout}${stderr}`).toBe(0);
  if (look) {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-exported-'));
    try {
      await dockerOk(stack, 'create', '--name', `look-${lane}`, name);
      await dockerOk(stack, 'export', '-o', join(directory, 'tar'), `look-${lane}`);
      await dockerOk(stack, 'rm', `look-${lane}`);
      execFileSync('tar', ['-C', directory, '-xf', join(directory, 'tar')]);
      const entries = (some: Tree) => Object.fromEntries([...some].sort());
      expect(entries(treeOf(directory)), about).toEqual(entries(tree));
    } finally {
      rmSync(directory, { recursive: true });
    }
  }
  await dockerOk(stack, 'rmi', name);
}

it(`${COUNT} generated images from seed ${SEED} on are pulled and have the right contents`, {
  timeout: COUNT * 60_000,
  retry: 0,
}, async () => {
  let next = 0;
  const lane = async (number: number): Promise<void> => {
    while (next < COUNT) {
      const n = next++;
      await tryOne(SEED + n, number, n % LOOK_AT === 0);
      if (COUNT > 12) console.log(`${n + 1} of ${COUNT}: seed ${SEED + n}`);
    }
  };
  await Promise.all([lane(0), lane(1)]);
});
