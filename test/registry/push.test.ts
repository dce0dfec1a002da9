/** Pushes to Debian's docker-registry; skopeo reads what is there then. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProgressMessage } from '../../appliance/image/types.js';
import { type CuttingProxy, startCuttingProxy } from '../support/registry/cutting-proxy.js';
import { eachWithHarness } from '../support/registry/each-with-harness.js';
import { ImageHarness } from '../support/registry/harness.js';
import { buildImage } from '../support/registry/image-builder.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { TarBuilder } from '../support/registry/tar-builder.js';

const run = promisify(execFile);
const IMAGES = ['busybox', 'odd-tree', 'nasty', 'multi', 'web'] as const;
let from: TestRegistry;
let to: TestRegistry;
let proxy: CuttingProxy;
const harness = eachWithHarness();

beforeAll(async () => {
  [from, to] = [await startRegistry(), await startRegistry()];
  proxy = await startCuttingProxy(to.address);
  for (const name of IMAGES) await from.push(await testImage(name), name);
  const layer = await new TarBuilder().file('noise', randomBytes(3_000_000)).build();
  await from.push(buildImage({ layers: [layer] }), 'noise');
});
afterAll(async () => {
  await proxy?.stop();
  for (const registry of [from, to]) await registry?.stop();
});

/** Pushes; gives what was said, and the digest. */
async function push(reference: string): Promise<{ statuses: string[]; digest: string }> {
  const messages: ProgressMessage[] = [];
  await harness().service.push(reference, { progress: (message) => messages.push(message) });
  return {
    statuses: messages.flatMap(({ status }) => status ?? []),
    digest: messages.find(({ aux }) => aux !== undefined)?.aux?.Digest ?? '',
  };
}

async function pulledAs(name: string, target: string): Promise<string> {
  await harness().pull(`${from.address}/${name}`);
  await harness().service.tag(`${from.address}/${name}`, target);
  return target;
}

/** What skopeo finds. */
async function inspect(reference: string): Promise<{ digest: string; config: { rootfs: { diff_ids: string[] } } }> {
  const at = [`docker://${reference}`, '--tls-verify=false'];
  const { stdout: digest } = await run('skopeo', ['inspect', '--format', '{{.Digest}}', ...at]);
  const { stdout: config } = await run('skopeo', ['inspect', '--config', ...at]);
  return { digest: digest.trim(), config: JSON.parse(config) };
}

test.each(IMAGES)('%s arrives whole in another registry, with the digest that it had', async (name) => {
  const built = await testImage(name);
  const target = await pulledAs(name, `${to.address}/pushed/${name}:1`);
  const { digest } = await push(target);
  const found = await inspect(target);
  const image = harness().service.resolve(target);
  expect(found.digest).toBe(digest);
  // Of an index, one platform's manifest is pulled and pushed.
  expect([built.top, ...built.manifests].map((manifest) => manifest.digest)).toContain(digest);
  expect(found.config.rootfs.diff_ids).toEqual(image.config.rootfs.diff_ids);
  expect(image.repoDigests).toContain(`${to.address}/pushed/${name}@${digest}`);
  const again = await ImageHarness.open();
  try {
    expect((await again.pull(target)).image.id).toBe(image.id);
  } finally {
    await again.close();
  }
});

/** An image whose layer no other program would compress in the same way, pulled and tagged. */
async function foreign(text: string, registry: TestRegistry, ...targets: string[]): Promise<string> {
  const tar = await new TarBuilder().file('text', text.repeat(1000)).build();
  const built = buildImage({ layers: [{ tar, blob: gzipSync(tar, { level: 1, memLevel: 3 }) }] });
  await registry.push(built, 'foreign');
  await harness().pull(`${registry.address}/foreign`);
  for (const target of targets) await harness().service.tag(`${registry.address}/foreign`, target);
  return built.top.digest;
}

test('the blob comes from the registry that has it, so that the digest stays', async () => {
  const target = `${to.address}/foreign/here:1`;
  const before = await foreign('here', from, target);
  expect((await push(target)).digest).toBe(before);
});

test('layers that are no more where they came from are compressed anew, with zstd as OCI wants them', async () => {
  const [target, again, zstd] = ['gzip', 'again', 'zstd'].map((name) => `${to.address}/gone/${name}:1`) as [
    string,
    string,
    string,
  ];
  const gone = await startRegistry();
  const before = await foreign('gone', gone, target, again, zstd).finally(() => gone.stop());
  const { digest } = await push(target);
  expect(digest).not.toBe(before);
  expect((await inspect(target)).digest).toBe(digest);
  expect((await push(again)).digest).toBe(digest);

  harness().kv.values.delete('blob-sources');
  await harness().reopen({ compression: 'zstd' });
  const smaller = await push(zstd);
  const { stdout } = await run('skopeo', ['inspect', '--raw', `docker://${zstd}`, '--tls-verify=false']);
  expect(JSON.parse(stdout)).toMatchObject({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd' }],
  });
  const copied = await ImageHarness.open();
  try {
    const { image } = await copied.pull(zstd);
    expect(image.repoDigests).toEqual([`${to.address}/gone/zstd@${smaller.digest}`]);
    expect((await inspect(zstd)).config.rootfs.diff_ids).toEqual(image.config.rootfs.diff_ids);
  } finally {
    await copied.close();
  }
});

test('to where it came from nothing is sent, and the digest stays', async () => {
  const name = `${from.address}/web:latest`;
  const { image } = await harness().pull(name);
  const { statuses, digest } = await push(name);
  expect(image.repoDigests).toEqual([`${from.address}/web@${digest}`]);
  expect(new Set(statuses.slice(1, -1))).toEqual(new Set(['Preparing', 'Layer already exists']));
});

test('from one repository of a registry to another the layers are mounted, and the digest stays', async () => {
  const target = await pulledAs('web', `${from.address}/elsewhere/web:2`);
  const { statuses, digest } = await push(target);
  expect(statuses).toContain('Mounted from web');
  expect(statuses).not.toContain('Pushed');
  expect(harness().service.resolve(target).repoDigests).toContain(`${from.address}/web@${digest}`);
});

test('all tags of a repository', async () => {
  await pulledAs('busybox', `${to.address}/all/tags:1`);
  await harness().service.tag(`${from.address}/busybox`, `${to.address}/all/tags:2`);
  const { statuses } = await push(`${to.address}/all/tags`);
  expect(statuses.filter((status) => /^[12]: digest: sha256:/.test(status))).toHaveLength(2);
});

test('an upload that breaks off goes on where the registry has it', async () => {
  const target = await pulledAs('noise', `${proxy.address}/cut/noise:1`);
  proxy.cuts.after = 1_000_000;
  proxy.cuts.left = 2;
  const { statuses, digest } = await push(target);
  expect(proxy.cuts.left).toBe(0);
  expect(statuses.some((status) => status.startsWith('Retrying in'))).toBe(true);
  expect((await inspect(`${to.address}/cut/noise:1`)).digest).toBe(digest);
});

test.each([
  ['nothing:1', /An image does not exist locally with the tag: nothing/],
  ['127.0.0.1:1/busybox:1', /dial tcp 127\.0\.0\.1:1: connect: connection refused/],
])('%s is refused', async (target, words) => {
  if (target.startsWith('127')) await pulledAs('busybox', target);
  await expect(push(target)).rejects.toThrow(words);
});
