/** The image service against Debian's docker-registry. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ImageHarness } from '../support/registry/harness.js';
import { SMALL_IMAGES, testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';

const run = promisify(execFile);

let registry: TestRegistry;
let harness: ImageHarness;

beforeAll(async () => {
  registry = await startRegistry();
  for (const name of SMALL_IMAGES) await registry.push(await testImage(name), name);
});

afterAll(() => registry?.stop());

beforeEach(async () => {
  harness = await ImageHarness.open();
});

afterEach(async () => {
  try {
    expect(await harness.spooled()).toEqual([]);
  } finally {
    await harness.close();
  }
});

test.each(SMALL_IMAGES)('%s is pulled completely', async (name) => {
  const built = await testImage(name);
  const { image, statuses } = await harness.pull(`${registry.address}/${name}`);
  expect(image.id).toBe(built.id);
  expect(image.repoDigests).toEqual([`${registry.address}/${name}@${built.top.digest}`]);
  expect(statuses.at(-1)).toBe(`Status: Downloaded newer image for ${registry.address}/${name}:latest`);
  expect(image.chainIds.every((chain) => harness.layers.has(chain))).toBe(true);
  const again = await harness.pull(`${registry.address}/${name}`);
  expect(again.statuses.at(-1)).toBe(`Status: Image is up to date for ${registry.address}/${name}:latest`);
});

test('layers common to images are stored once', async () => {
  await harness.pull(`${registry.address}/busybox`);
  const { statuses } = await harness.pull(`${registry.address}/web`);
  expect(statuses.filter((status) => status === 'Already exists')).toHaveLength(1);
  expect(harness.layers.layers.size).toBe(2);
});

test('a missing image is refused with Docker’s message', async () => {
  await expect(harness.pull(`${registry.address}/nope`)).rejects.toMatchObject({
    kind: 'notFound',
    message: `manifest for ${registry.address}/nope:latest not found: manifest unknown: manifest unknown`,
  });
  expect(await harness.service.login({ username: 'u', password: 'p', serveraddress: registry.address })).toBe(
    'Login Succeeded',
  );
});

test('as a mirror it serves unqualified names', async () => {
  await registry.push(await testImage('hello'), 'library/hello-world');
  await harness.reopen({ mirrors: [`http://${registry.address}`] });
  const { image } = await harness.pull('hello-world');
  expect(image.repoTags).toEqual(['hello-world:latest']);
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
