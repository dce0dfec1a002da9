import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Image } from '../../../appliance/image/types.js';
import { type FaultyRegistry, startFaultyRegistry } from '../../support/registry/faulty-registry.js';
import { ImageHarness } from '../../support/registry/harness.js';
import { type BuiltImage, buildImage } from '../../support/registry/image-builder.js';
import { TarBuilder } from '../../support/registry/tar-builder.js';

// The expected answers are those of dockerd 28.5.2 to the same requests.

let registry: FaultyRegistry;
let harness: ImageHarness;
let built: BuiltImage;
let name: string;
let image: Image;
let users: { id: string; running: boolean }[];

beforeEach(async () => {
  const base = await new TarBuilder().file('base', 'x').build();
  const top = await new TarBuilder().file('top', 'y').build();
  built = buildImage({ layers: [base, top] });
  registry = await startFaultyRegistry({
    images: { 'multi:latest': built, 'base:latest': buildImage({ layers: [base] }) },
  });
  harness = await ImageHarness.open();
  name = `${registry.address}/multi`;
  image = (await harness.pull(name)).image;
  users = [];
});

afterEach(async () => {
  await harness.close();
  await registry.stop();
});

const remove = (reference: string, force = false) =>
  harness.service.remove(reference, { force, noPrune: false, usedBy: (id) => (id === image.id ? users : []) });
const untagged = (reference: string) => ({ Untagged: reference });
const digested = () => `${name}@${built.top.digest}`;
const container = { id: 'e6f3a9ed33f97789785302eb232d14bfe936ba747a3953dd3076c919f177f668', running: false };
const short = () => image.id.slice(7, 19);

describe('by reference', () => {
  test('removing the last one removes the image and its layers, topmost first', async () => {
    expect(await remove(name)).toEqual([
      untagged(`${name}:latest`),
      untagged(digested()),
      { Deleted: image.id },
      { Deleted: image.chainIds[1] },
      { Deleted: image.chainIds[0] },
    ]);
    expect(harness.service.list()).toEqual([]);
    expect(harness.layers.layers.size).toBe(0);
    expect([...harness.kv.values.keys()].sort()).toEqual(['blob-sources', 'images']);
    expect(harness.events.slice(1).map(({ action, id, name }) => [action, id, name])).toEqual([
      ['untag', image.id, image.id],
      ['delete', image.id, image.id],
    ]);
  });

  test('layers of other images stay', async () => {
    await harness.pull(`${registry.address}/base`);
    expect((await remove(name)).slice(2)).toEqual([{ Deleted: image.id }, { Deleted: image.chainIds[1] }]);
  });

  test('removing one of several only untags', async () => {
    await harness.service.tag(name, 'foo:1');
    users = [container];
    expect(await remove('foo:1')).toEqual([untagged('foo:1')]);
    expect(harness.service.resolve(name).repoTags).toEqual([`${name}:latest`]);
  });

  test('a digest, but the tag stays', async () => {
    expect(await remove(digested())).toEqual([untagged(digested())]);
    expect(harness.service.resolve(name)).toMatchObject({ repoTags: [`${name}:latest`], repoDigests: [] });
  });

  test('a container that uses it is a conflict', async () => {
    users = [container];
    await expect(remove(name)).rejects.toMatchObject({
      kind: 'conflict',
      message: `conflict: unable to remove repository reference "${name}" (must force) - container e6f3a9ed33f9 is using its referenced image ${short()}`,
    });
    expect(harness.service.resolve(name).repoTags).toHaveLength(1);
  });

  test('forced: layers that a container uses stay until nothing uses them', async () => {
    users = [container];
    harness.layers.inUse.add(image.chainIds[1]!);
    expect(await remove(name, true)).toEqual([untagged(`${name}:latest`), untagged(digested()), { Deleted: image.id }]);
    expect(harness.layers.layers.size).toBe(2);
    harness.layers.inUse.clear();
    await harness.pull(`${registry.address}/base`);
    await remove(`${registry.address}/base`);
    expect(harness.layers.layers.size).toBe(0);
  });

  test('forced with a running container: the image stays, untagged', async () => {
    users = [{ ...container, running: true }];
    expect(await remove(name, true)).toEqual([untagged(`${name}:latest`), untagged(digested())]);
    expect(harness.service.resolve(image.id)).toMatchObject({ repoTags: [], repoDigests: [] });
  });
});

describe('by id', () => {
  test('its only tag and digest are removed with it', async () => {
    expect((await remove(image.id.slice(7, 15))).at(2)).toEqual({ Deleted: image.id });
  });

  test('several tags are a conflict even in one repository, unless forced', async () => {
    await harness.service.tag(name, `${name}:two`);
    await expect(remove(image.id)).rejects.toMatchObject({
      kind: 'conflict',
      message: `conflict: unable to delete ${short()} (must be forced) - image is referenced in multiple repositories`,
    });
    expect(await remove(image.id, true)).toEqual([
      untagged(`${name}:latest`),
      untagged(`${name}:two`),
      untagged(digested()),
      { Deleted: image.id },
      { Deleted: image.chainIds[1] },
      { Deleted: image.chainIds[0] },
    ]);
  });

  test('containers that use it are a conflict', async () => {
    users = [container];
    await expect(remove(image.id)).rejects.toThrow(
      `conflict: unable to delete ${short()} (must be forced) - image is being used by stopped container e6f3a9ed33f9`,
    );
    users = [container, { ...container, running: true }];
    for (const force of [false, true]) {
      await expect(remove(image.id, force)).rejects.toThrow(
        `conflict: unable to delete ${short()} (cannot be forced) - image is being used by running container e6f3a9ed33f9`,
      );
    }
    expect(harness.service.resolve(name).id).toBe(image.id);
  });
});

describe('names', () => {
  test.each([
    ['nope', 'notFound', 'No such image: nope:latest'],
    ['sha256:1234', 'notFound', 'No such image: sha256:1234'],
    ['NOPE', 'invalid', 'invalid reference format: repository name (library/NOPE) must be lowercase'],
    [`sha256:${'0'.repeat(64)}`, 'notFound', `No such image: sha256:${'0'.repeat(64)}`],
  ])('%s', async (reference, kind, message) => {
    await expect(remove(reference)).rejects.toMatchObject({ kind, message });
    expect(() => harness.service.resolve(reference)).toThrow(message);
  });

  test('tags can be created and moved, but not created from digests', async () => {
    await harness.service.tag(image.id, 'mine');
    expect(harness.service.resolve('docker.io/library/mine:latest').repoTags).toContain('mine:latest');
    const other = (await harness.pull(`${registry.address}/base`)).image;
    await harness.service.tag(`${registry.address}/base`, 'mine');
    expect(harness.service.resolve('mine').id).toBe(other.id);
    await expect(harness.service.tag('mine', digested())).rejects.toMatchObject({ kind: 'invalid' });
    await expect(harness.service.tag('mine', 'sha256:x')).rejects.toMatchObject({ kind: 'invalid' });
    await expect(harness.service.tag('nope', 'x')).rejects.toMatchObject({ kind: 'notFound' });
    expect(harness.events.filter(({ action }) => action === 'tag').map((event) => event.name)).toEqual([
      'mine:latest',
      'mine:latest',
    ]);
  });
});

describe('records', () => {
  test('an image whose layer or configuration is gone is dropped at open', async () => {
    harness.layers.layers.delete(image.chainIds[1]!);
    await harness.reopen();
    expect(harness.service.list()).toEqual([]);
    expect((await harness.pull(name)).image.id).toBe(image.id);
    harness.kv.values.set(`image-${image.id.slice(7)}`, Buffer.from('{}'));
    await harness.reopen();
    expect(harness.service.list()).toEqual([]);
    expect((await harness.pull(name)).image.id).toBe(image.id);
  });

  test('an unreadable index is an error, not an empty store', async () => {
    harness.kv.values.set('images', Buffer.from('{"version":9}'));
    await expect(harness.reopen()).rejects.toMatchObject({ kind: 'internal' });
  });

  test('a removal keeps the layers that a pull under way relies on', async () => {
    const base = (await harness.pull(`${registry.address}/base`)).image;
    await remove(name);
    expect([...harness.layers.layers.keys()]).toEqual(base.chainIds);
    let removed: ReturnType<typeof remove> | undefined;
    harness.layers.beforePublish = async () => {
      removed = remove(`${registry.address}/base`);
      expect((await removed).some((record) => 'Deleted' in record && record.Deleted === base.chainIds[0])).toBe(false);
    };
    expect((await harness.pull(name)).image.chainIds.every((chain) => harness.layers.has(chain))).toBe(true);
    expect(removed).toBeDefined();
  });

  test('a removal during a pull of the same image leaves a complete image', async () => {
    for (let round = 0; round < 10; round++) {
      const [pulled] = await Promise.allSettled([harness.pull(name), remove(name), harness.pull(name), remove(name)]);
      expect(pulled).toMatchObject({ status: 'fulfilled' });
      for (const present of harness.service.list()) {
        expect(present.chainIds.every((chain) => harness.layers.has(chain))).toBe(true);
      }
      await harness.pull(name);
    }
  });
});
