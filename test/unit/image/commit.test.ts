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

test.each([
  ['BAD', '', 'invalid reference format: repository name (library/BAD) must be lowercase'],
  ['x', 'b@d', 'invalid tag format'],
  [`x@sha256:${'0'.repeat(64)}`, '', 'cannot import digest reference'],
  ['x', `sha256:${'0'.repeat(64)}`, 'cannot import digest reference'],
])('the reference %s %s is refused', (repository, tag, message) => {
  expect(() => commitReference(repository, tag)).toThrow(message);
});
