/** An image made from a container: one more layer, a configuration, a reference. */
import { readdirSync } from 'node:fs';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { commitReference } from '../../../appliance/image/image-commit.js';
import type { CommitOptions, Image } from '../../../appliance/image/types.js';
import { chainId, sha256 } from '../../../src/common/ids.js';
import { type FaultyRegistry, startFaultyRegistry } from '../../support/registry/faulty-registry.js';
import { ImageHarness } from '../../support/registry/harness.js';
import { buildImage } from '../../support/registry/image-builder.js';
import { TarBuilder } from '../../support/registry/tar-builder.js';

let registry: FaultyRegistry;
let harness: ImageHarness;
let base: Image;
beforeEach(async () => {
  const layer = await new TarBuilder().file('base', 'x').build();
  registry = await startFaultyRegistry({ images: { 'base:latest': buildImage({ layers: [layer] }) } });
  harness = await ImageHarness.open();
  base = (await harness.pull(`${registry.address}/base`)).image;
});
afterEach(async () => {
  await harness.close();
  await registry.stop();
});

const options = (tar: Buffer, more: Partial<CommitOptions> = {}): CommitOptions => ({
  base,
  layer: Readable.from([tar], { objectMode: false }),
  config: { Env: ['A=b'], Cmd: ['run'] },
  fields: { container: 'c'.repeat(64) },
  author: 'me',
  comment: 'why',
  createdBy: 'sh -c x',
  reference: commitReference('made/here', ''),
  ...more,
});

describe('a commit', () => {
  test('makes an image on top of the container’s image, with history and its reference', async () => {
    const tar = await new TarBuilder().file('new', 'y').build();
    const image = await harness.service.commit(options(tar));
    const diffId = `sha256:${sha256(tar)}`;
    expect(image.chainIds).toEqual([...base.chainIds, chainId(base.chainIds[0]!, diffId)]);
    expect(harness.layers.entries.get(image.chainIds[1]!)).toEqual(['new']);
    expect(image).toMatchObject({ repoTags: ['made/here:latest'], config: { author: 'me', config: { Env: ['A=b'] } } });
    expect(image.config.history?.at(-1)).toMatchObject({ author: 'me', comment: 'why', created_by: 'sh -c x' });
    expect(image.config.history).toHaveLength((base.config.history ?? []).length + 1);
    expect(JSON.parse(image.rawConfig.toString())).toMatchObject({ container: 'c'.repeat(64), os: 'linux' });
    expect(`sha256:${sha256(image.rawConfig)}`).toBe(image.id);
    expect(harness.service.resolve('made/here').id).toBe(image.id);
    expect(harness.events.slice(-2).map(({ action, name }) => `${action} ${name}`)).toEqual([
      `create ${image.id}`,
      'tag made/here:latest',
    ]);
    expect(readdirSync(harness.spoolDir)).toEqual([]);
  });

  test('adds no layer when nothing was changed', async () => {
    const image = await harness.service.commit(
      options(Buffer.alloc(1024), { reference: null, comment: '', author: '' }),
    );
    expect(image.chainIds).toEqual(base.chainIds);
    expect(image.config.history?.at(-1)).toMatchObject({ empty_layer: true });
    expect(image.config.history?.at(-1)).not.toHaveProperty('author');
    expect(image.repoTags).toEqual([]);
  });

  test('leaves nothing behind when the archive fails midway', async () => {
    const broken = Readable.from(
      (async function* () {
        yield Buffer.alloc(512);
        throw new Error('the container has stopped');
      })(),
    );
    await expect(harness.service.commit(options(Buffer.alloc(0), { layer: broken }))).rejects.toThrow('has stopped');
    expect(harness.service.list()).toHaveLength(1);
    expect(readdirSync(harness.spoolDir)).toEqual([]);
  });
});

describe('images that others were committed from', () => {
  const remove = (reference: string, more: { force?: boolean; noPrune?: boolean } = {}) =>
    harness.service.remove(reference, { force: false, noPrune: false, usedBy: () => [], ...more });
  let first: Image;
  let second: Image;
  beforeEach(async () => {
    const tar = await new TarBuilder().file('new', 'y').build();
    first = await harness.service.commit(options(tar, { reference: commitReference('first', '') }));
    second = await harness.service.commit(
      options(Buffer.alloc(1024), { base: first, reference: commitReference('second', '') }),
    );
  });

  test('are known, also after a restart', async () => {
    await harness.reopen();
    expect(harness.service.resolve('second').parent).toBe(first.id);
    expect(harness.service.resolve('first').parent).toBe(base.id);
    expect(harness.service.resolve(base.id).parent).toBeNull();
  });

  test('of earlier versions are those that the configurations name', async () => {
    const index = JSON.parse(harness.kv.values.get('images')!.toString()) as { parents?: object };
    const config = { ...JSON.parse(second.rawConfig.toString()), parent: first.id };
    const raw = Buffer.from(JSON.stringify(config));
    const id = `sha256:${sha256(raw)}`;
    harness.kv.values.set(`image-${id.slice(7)}`, raw);
    const { parents: _, ...old } = JSON.parse(JSON.stringify(index).replaceAll(second.id, id));
    harness.kv.values.set('images', Buffer.from(JSON.stringify(old)));
    await harness.reopen();
    expect(harness.service.resolve('second')).toMatchObject({ id, parent: first.id });
  });

  test('lose only their names, and go with the last of those', async () => {
    expect(await remove('first')).toEqual([{ Untagged: 'first:latest' }]);
    await expect(remove(first.id, { force: true })).rejects.toThrow(
      `conflict: unable to delete ${first.id.slice(7, 19)} (cannot be forced) - image has dependent child images`,
    );
    expect(await remove('second')).toEqual([
      { Untagged: 'second:latest' },
      { Deleted: second.id },
      { Deleted: first.id },
      { Deleted: first.chainIds[1] },
    ]);
    expect(harness.service.list().map(({ id }) => id)).toEqual([base.id]);
  });

  test('stay where that is wanted', async () => {
    await remove('first');
    expect(await remove('second', { noPrune: true })).toEqual([{ Untagged: 'second:latest' }, { Deleted: second.id }]);
    expect(harness.service.resolve(first.id).repoTags).toEqual([]);
  });
});

test.each([
  ['BAD', '', 'invalid reference format: repository name (library/BAD) must be lowercase'],
  ['x', 'b@d', 'invalid tag format'],
  [`x@sha256:${'0'.repeat(64)}`, '', 'cannot import digest reference'],
  ['x', `sha256:${'0'.repeat(64)}`, 'invalid tag format'],
])('the reference %s %s is refused', (repository, tag, message) => {
  expect(() => commitReference(repository, tag)).toThrow(message);
});
