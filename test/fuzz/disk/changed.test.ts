/** Random archives unpacked one after the other into the disk of a stopped container, compared with a model. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { randomOf } from '../../support/random.js';
import { CONTAINER_ID, stoppedContainer } from '../../support/stopped-container.js';
import {
  type Entry,
  fsck,
  readAll,
  Stack,
  streamOf,
  tarOf,
  temporaryDirectory,
  withFilesystem,
} from '../../unit/disk/support.js';

const ROUNDS = 12;
const ENTRIES = 60;
const SIZES = [0, 1, 4095, 4096, 4097, 65_536, 65_537, 300_000];

type Node = { kind: 'directory' } | { kind: 'file'; content: Buffer } | { kind: 'symlink'; target: string };

let directory: string;
let remove: () => Promise<void>;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(() => remove());

/** Applies an entry to the model; false when a part of the path is not a directory. */
function place(model: Map<string, Node>, path: string, node: Node): boolean {
  const parts = path.split('/');
  const above = parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('/'));
  if (above.some((one) => (model.get(one)?.kind ?? 'directory') !== 'directory')) return false;
  for (const one of above) model.set(one, { kind: 'directory' });
  if (model.get(path)?.kind === 'directory' && node.kind !== 'directory')
    for (const known of [...model.keys()]) if (known.startsWith(`${path}/`)) model.delete(known);
  model.set(path, node);
  return true;
}

test.each([1, 2, 3, 4])('seed %i', async (seed) => {
  const random = randomOf(seed);
  const stack = new Stack(directory, undefined, `seed-${seed}-`);
  const layer = [
    ...Array.from({ length: 300 }, (_, i) => ({ name: `a/many-${i}`, content: `${i}` })),
    { name: 'b/c/file', content: 'from the layer' },
  ];
  await stack.add(await tarOf(layer));
  const { files, disk } = await stoppedContainer(directory, stack.top);
  const model = new Map<string, Node>();
  for (const { name, content } of layer) place(model, name, { kind: 'file', content: Buffer.from(content) });
  for (let round = 0; round < ROUNDS; round++) {
    const entries: Entry[] = [];
    for (let i = 0; i < ENTRIES; i++) {
      const parts = Array.from({ length: 1 + random(3) }, () => 'abcde'[random(5)]);
      const name = parts.join('/') + (random(3) === 0 ? `-${random(400)}` : '');
      const kind = random(10);
      const content = Buffer.alloc(SIZES[random(SIZES.length)]!, random(256));
      const target = `/nowhere/${round}`;
      if (kind < 6) {
        if (place(model, name, { kind: 'file', content })) entries.push({ name, content });
      } else if (kind < 8) {
        if (place(model, name, { kind: 'directory' })) entries.push({ name, type: 'directory' });
      } else if (place(model, name, { kind: 'symlink', target })) {
        entries.push({ name, type: 'symlink', linkname: target });
      }
    }
    await files.extract(CONTAINER_ID, '/', streamOf(await tarOf(entries)), { keepKind: false, asUser: false });
    const checked = await fsck(disk);
    expect(checked.code, checked.output).toBe(0);
  }
  await withFilesystem(disk, async (filesystem) => {
    for (const [path, node] of model) {
      const ino = await filesystem.resolve(path, { followLast: false });
      expect((await filesystem.statInode(ino)).type, path).toBe(node.kind);
      if (node.kind === 'file') expect((await readAll(filesystem.readFile(ino))).equals(node.content), path).toBe(true);
    }
  });
  expect((await files.changes(CONTAINER_ID)).length).toBeGreaterThan(20);
});
