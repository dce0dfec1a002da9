/** The image service against Debian's docker-registry. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProgressMessage } from '../../appliance/image/types.js';
import { eachWithHarness } from '../support/registry/each-with-harness.js';
import { SMALL_IMAGES, testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';

const run = promisify(execFile);

let registry: TestRegistry;
const harness = eachWithHarness();

beforeAll(async () => {
  registry = await startRegistry();
  for (const name of SMALL_IMAGES) await registry.push(await testImage(name), name);
});

afterAll(() => registry?.stop());

test.each(SMALL_IMAGES)('%s is pulled completely', async (name) => {
  const built = await testImage(name);
  const { image, statuses } = await harness().pull(`${registry.address}/${name}`);
  expect(image.id).toBe(built.id);
  expect(image.repoDigests).toEqual([`${registry.address}/${name}@${built.top.digest}`]);
  expect(statuses.at(-1)).toBe(`Status: Downloaded newer image for ${registry.address}/${name}:latest`);
  expect(image.chainIds.every((chain) => harness().layers.has(chain))).toBe(true);
  const again = await harness().pull(`${registry.address}/${name}`);
  expect(again.statuses.at(-1)).toBe(`Status: Image is up to date for ${registry.address}/${name}:latest`);
});

test('layers common to images are stored once', async () => {
  await harness().pull(`${registry.address}/busybox`);
  const { statuses } = await harness().pull(`${registry.address}/web`);
  expect(statuses.filter((status) => status === 'Already exists')).toHaveLength(1);
  expect(harness().layers.layers.size).toBe(2);
});

test('a missing image is refused with Docker’s message', async () => {
  await expect(harness().pull(`${registry.address}/nope`)).rejects.toMatchObject({
    kind: 'notFound',
    message: `manifest for ${registry.address}/nope:latest not found: manifest unknown: manifest unknown`,
  });
  expect(await harness().service.login({ username: 'u', password: 'p', serveraddress: registry.address })).toBe(
    'Login Succeeded',
  );
});

test('as a mirror it serves unqualified names', async () => {
  await registry.push(await testImage('hello'), 'library/hello-world');
  await harness().reopen({ mirrors: [`http://${registry.address}`] });
  const { image } = await harness().pull('hello-world');
  expect(image.repoTags).toEqual(['hello-world:latest']);
});

test('all tags of a repository are pulled, one after the other', async () => {
  for (const [name, tag] of [
    ['hello', '1'],
    ['busybox', '2'],
  ] as const)
    await registry.push(await testImage(name), `tags/all:${tag}`);
  const statuses: (string | undefined)[] = [];
  const progress = ({ status, id }: ProgressMessage) => {
    if (/^(Pulling from|Status)/.test(status ?? '')) statuses.push(id === undefined ? status : `${status} ${id}`);
  };
  await harness().service.pullAll(`${registry.address}/tags/all`, { progress });
  // A registry may list tags in any order.
  expect(statuses.slice(0, 2).sort()).toEqual(['Pulling from tags/all 1', 'Pulling from tags/all 2']);
  expect(statuses.slice(2)).toEqual([`Status: Downloaded newer image for ${registry.address}/tags/all`]);
  expect(
    harness()
      .service.list()
      .flatMap(({ repoTags }) => repoTags)
      .sort(),
  ).toEqual(['1', '2'].map((tag) => `${registry.address}/tags/all:${tag}`));
  expect(
    harness()
      .events.map(({ action, id }) => `${action} ${id}`)
      .sort(),
  ).toEqual(['1', '2'].map((tag) => `pull ${registry.address}/tags/all:${tag}`));
  await expect(harness().service.pullAll(`${registry.address}/tags/none`, { progress })).rejects.toThrow(/not found/);
});

test('a search finds what a registry lists, and what mirrors do', async () => {
  await registry.push(await testImage('hello'), 'library/hello-world');
  const there = await harness().service.search(`${registry.address}/bUSy`, { limit: 10 });
  expect(there).toEqual([
    { name: `${registry.address}/busybox`, description: '', stars: 0, official: false, automated: false },
  ]);
  await harness().reopen({ mirrors: [`http://${registry.address}`] });
  const found = await harness().service.search('hello', { limit: 10 });
  expect(found.map(({ name, official }) => [name, official])).toEqual([
    ['hello', false],
    ['hello-world', true],
  ]);
  expect(await harness().service.search('', { limit: 2 })).toHaveLength(2);
  await expect(harness().service.search('127.0.0.1:1/x', { limit: 1 })).rejects.toThrow(/connection refused/);
});

test('what a registry has is told without pulling it', async () => {
  const image = await testImage('multi');
  await registry.push(image, 'looked/at:1');
  const found = await harness().service.distribution(`${registry.address}/looked/at:1`, {});
  expect(found).toMatchObject({ digest: image.top.digest, mediaType: image.top.mediaType });
  expect(found.platforms).toContainEqual({ os: 'linux', architecture: 'amd64', variant: '' });
  await registry.push(await testImage('hello'), 'looked/at:2');
  const single = await harness().service.distribution(`${registry.address}/looked/at:2`, {});
  expect(single.platforms).toEqual([{ os: 'linux', architecture: 'amd64', variant: '' }]);
  expect(harness().service.list()).toEqual([]);
  await expect(harness().service.distribution(`${registry.address}/looked/at:3`, {})).rejects.toThrow(
    /manifest unknown/,
  );
  await expect(harness().service.distribution('a'.repeat(64), {})).rejects.toThrow(
    'no manifest found for full image ID',
  );
});

test('skopeo accepts the test images as valid', async () => {
  for (const name of SMALL_IMAGES) {
    const { stdout } = await run('skopeo', [
      ...['inspect', '--config', '--tls-verify=false', '--override-arch', 'amd64'],
      `docker://${registry.address}/${name}`,
    ]);
    expect(JSON.parse(stdout).rootfs.diff_ids.length).toBeGreaterThan(0);
  }
});
