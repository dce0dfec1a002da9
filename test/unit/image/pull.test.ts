import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { insufficientResources, unavailable } from '../../../src/common/errors.js';
import {
  type FaultyOptions,
  type FaultyRegistry,
  startFaultyRegistry,
} from '../../support/registry/faulty-registry.js';
import { ImageHarness } from '../../support/registry/harness.js';
import { type BuiltImage, buildImage, buildIndex, digestOf } from '../../support/registry/image-builder.js';
import { selfSigned } from '../../support/registry/self-signed.js';
import { TarBuilder } from '../../support/registry/tar-builder.js';

let harness: ImageHarness;
const registries: FaultyRegistry[] = [];
let lower: Buffer;
let upper: Buffer;
let image: BuiltImage;

/** Incompressible, so that blobs are large enough to be interrupted. */
const noise = (seed: number, length: number) => {
  const data = Buffer.alloc(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    data[i] = state >>> 16;
  }
  return data;
};

beforeAll(async () => {
  lower = await new TarBuilder().directory('a').file('a/data', noise(1, 300_000)).build();
  upper = await new TarBuilder().file('b', noise(2, 50_000)).build();
  image = buildImage({ layers: [lower, upper], config: { Labels: { tier: 'x' } } });
});

beforeEach(async () => {
  harness = await ImageHarness.open();
});

afterEach(async () => {
  try {
    // No pull, good or bad, may leave anything in the spool, nor a half-written layer.
    expect(await harness.spooled()).toEqual([]);
    expect(harness.layers.writing).toBe(0);
  } finally {
    await harness.close();
    await Promise.all(registries.splice(0).map((registry) => registry.stop()));
  }
});

async function registry(options: FaultyOptions = {}): Promise<FaultyRegistry> {
  const started = await startFaultyRegistry({ images: { 'x:latest': image }, ...options });
  registries.push(started);
  return started;
}

const isBlob = (path: string, digest?: string) => path.includes('/blobs/') && (!digest || path.endsWith(digest));
const layerDigest = (built: BuiltImage, index: number): string =>
  JSON.parse(built.top.body.toString()).layers[index].digest;
const short = (digest: string) => digest.slice(7, 19);

describe('a good pull', () => {
  test('reports progress as Docker does, stores the image, and lists it', async () => {
    const { address } = await registry();
    const { image: pulled, messages } = await harness.pull(`${address}/x`);
    const ids = [0, 1].map((index) => short(layerDigest(image, index)));
    const of = (id: string) => [
      ...new Set(messages.filter((message) => message.id === id).map(({ status }) => status)),
    ];
    expect(messages[0]).toEqual({ status: 'Pulling from x', id: 'latest' });
    for (const id of ids) {
      expect(of(id!)).toEqual([
        'Pulling fs layer',
        'Downloading',
        'Verifying Checksum',
        'Download complete',
        'Extracting',
        'Pull complete',
      ]);
    }
    expect(messages.slice(-2)).toEqual([
      { status: `Digest: ${image.top.digest}` },
      { status: `Status: Downloaded newer image for ${address}/x:latest` },
    ]);
    expect(pulled).toMatchObject({
      id: image.id,
      repoTags: [`${address}/x:latest`],
      repoDigests: [`${address}/x@${image.top.digest}`],
      size: 350_000,
    });
    expect(harness.layers.entries.get(pulled.chainIds[0]!)).toEqual(['a/', 'a/data']);
    expect(harness.layers.get(pulled.chainIds[1]!)?.parent).toBe(pulled.chainIds[0]);
    expect(harness.events).toEqual([
      { action: 'pull', id: `${address}/x:latest`, name: `${address}/x`, labels: { tier: 'x' } },
    ]);

    await harness.reopen();
    expect(harness.service.list()).toEqual([pulled]);
    expect(harness.service.resolve(image.id.slice(7, 15))).toEqual(pulled);
    expect(harness.service.resolve(`${address}/x@${image.top.digest}`)).toEqual(pulled);
  });

  test('a second pull is up to date by a HEAD of the manifest alone', async () => {
    const faulty = await registry();
    await harness.pull(`${faulty.address}/x`);
    faulty.requests.length = 0;
    const { statuses } = await harness.pull(`${faulty.address}/x`);
    expect(statuses).toEqual([
      'Pulling from x',
      `Digest: ${image.top.digest}`,
      `Status: Image is up to date for ${faulty.address}/x:latest`,
    ]);
    expect(faulty.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'GET /v2/',
      'HEAD /v2/x/manifests/latest',
    ]);
  });

  test('by digest', async () => {
    const { address } = await registry();
    const name = `${address}/x@${image.top.digest}`;
    const { messages, image: pulled } = await harness.pull(name);
    expect(messages[0]).toEqual({ status: 'Pulling from x', id: name });
    expect(messages.at(-1)).toEqual({ status: `Status: Downloaded newer image for ${name}` });
    expect(pulled).toMatchObject({ repoTags: [], repoDigests: [name] });
  });

  test('a tag that moved is taken from the old image', async () => {
    const faulty = await registry();
    await harness.pull(`${faulty.address}/x`);
    const newer = buildImage({ layers: [lower] });
    faulty.images['x:latest'] = newer;
    const { messages, image: pulled } = await harness.pull(`${faulty.address}/x`);
    expect(pulled.id).toBe(newer.id);
    expect(messages[1]).toMatchObject({ status: 'Already exists' });
    expect(harness.service.resolve(image.id).repoTags).toEqual([]);
  });

  test.each(['gzip', 'zstd', 'none'] as const)('%s layers, Docker and OCI', async (compression) => {
    const images = {
      'o:latest': buildImage({ layers: [lower, upper], compression }),
      'd:latest': buildImage({ layers: [upper, lower], compression, format: 'docker' }),
    };
    const { address } = await registry({ images });
    await harness.pull(`${address}/o`);
    await harness.pull(`${address}/d`);
    expect(harness.layers.layers.size).toBe(4);
  });

  test('an index: the requested platform', async () => {
    const arm = buildImage({ layers: [upper], architecture: 'arm64', variant: 'v8' });
    const { address } = await registry({ images: { 'x:latest': buildIndex([arm, image]) } });
    expect((await harness.pull(`${address}/x`)).image.id).toBe(image.id);
    expect((await harness.pull(`${address}/x`, { platform: 'linux/arm64' })).image.id).toBe(arm.id);
    await expect(harness.pull(`${address}/x`, { platform: 'linux/s390x' })).rejects.toMatchObject({
      kind: 'notFound',
      message: 'no matching manifest for linux/s390x in the manifest list entries',
    });
  });

  test('the same layer twice, and no layers at all', async () => {
    const images = {
      'twice:latest': buildImage({ layers: [upper, upper] }),
      'none:latest': buildImage({ layers: [] }),
    };
    const faulty = await registry({ images });
    await harness.pull(`${faulty.address}/twice`);
    expect(faulty.requests.filter(({ path }) => isBlob(path))).toHaveLength(2);
    expect((await harness.pull(`${faulty.address}/none`)).image).toMatchObject({ chainIds: [], size: 0 });
  });
});

describe('the number of layers', () => {
  test('is limited as in Docker, and a repeated layer counts each time', async () => {
    const images = {
      'most:latest': buildImage({ layers: Array(125).fill(upper) }),
      'more:latest': buildImage({ layers: Array(126).fill(upper) }),
    };
    const { address } = await registry({ images });
    expect((await harness.pull(`${address}/most`)).image.chainIds).toHaveLength(125);
    await expect(harness.pull(`${address}/more`)).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'failed to register layer: max depth exceeded',
    });
  });
});

describe('concurrent pulls', () => {
  test('share layers', async () => {
    const second = buildImage({ layers: [lower], config: { Cmd: ['other'] } });
    const faulty = await registry({ images: { 'x:latest': image, 'y:latest': second } });
    const names = ['x', 'y', 'x', 'y', 'x'];
    await Promise.all(names.map((name) => harness.pull(`${faulty.address}/${name}`)));
    const blob = `/v2/x/blobs/${layerDigest(image, 0)}`.replace('/x/', '/');
    const downloads = faulty.requests.filter(({ path }) => path.replace(/\/v2\/[xy]\//, '/v2/') === blob);
    expect(downloads).toHaveLength(1);
    expect(harness.layers.writes).toBe(2);
  });

  test('at most three downloads at once; the others wait', async () => {
    const tars = await Promise.all(
      [1, 2, 3, 4, 5].map((seed) => new TarBuilder().file('f', noise(seed, 1000)).build()),
    );
    const { address } = await registry({ images: { 'x:latest': buildImage({ layers: tars }) } });
    const { statuses } = await harness.pull(`${address}/x`);
    expect(statuses.filter((status) => status === 'Waiting')).toHaveLength(2);
  });

  test('one that is cancelled does not cancel the other', async () => {
    const faulty = await registry();
    const leaving = new AbortController();
    let release!: () => void;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reached = new Promise<void>((resolve) => {
      harness.layers.beforePublish = () => {
        resolve();
        return gate;
      };
    });
    const first = harness.pull(`${faulty.address}/x`, { signal: leaving.signal });
    const failed = expect(first).rejects.toMatchObject({ kind: 'cancelled' });
    await reached;
    let joined!: () => void;
    const isThere = new Promise<void>((resolve) => {
      joined = resolve;
    });
    // A caller that joins a download learns its progress at once.
    const progress = ({ status }: { status: string }): void => {
      if (status === 'Extracting') joined();
    };
    const second = harness.service.pull(`${faulty.address}/x`, { progress });
    await isThere;
    leaving.abort();
    await failed;
    release();
    expect((await second).id).toBe(image.id);
    expect(harness.layers.writes).toBe(2);
  });

  test('a joined download that fails for its owner is retried by the one who joined', async () => {
    // The first registry corrupts the layer, the second does not: same digest, different source.
    const bad = await registry({
      fault: ({ path }) => (isBlob(path, layerDigest(image, 0)) ? { kind: 'corrupt' } : undefined),
    });
    const good = await registry();
    const first = harness.pull(`${bad.address}/x`);
    const second = harness.pull(`${good.address}/x`);
    await expect(first).rejects.toMatchObject({ kind: 'invalid' });
    expect((await second).image.id).toBe(image.id);
  });
});

describe('registries that misbehave', () => {
  const blob0 = () => layerDigest(image, 0);

  test('500, then a good answer', async () => {
    const { address } = await registry({
      fault: ({ nth, path }) => (nth === 1 && path !== '/v2/' ? { kind: 'status', status: 500 } : undefined),
    });
    const { statuses } = await harness.pull(`${address}/x`);
    expect(statuses).toContain('Retrying in 1 second');
  });

  test('500 every time', async () => {
    const { address } = await registry({
      fault: ({ path }) => (isBlob(path) ? { kind: 'status', status: 500 } : undefined),
    });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'received unexpected HTTP status: 500 Internal Server Error',
    });
    expect(harness.service.list()).toEqual([]);
  });

  test.each(['truncate', 'stall'] as const)('%s: resumes where it stopped', async (kind) => {
    const faulty = await registry({
      fault: ({ path, nth }) => (isBlob(path, blob0()) && nth === 1 ? { kind, after: 100_000 } : undefined),
    });
    if (kind === 'stall') await harness.reopen({}, { idle: 700 });
    expect((await harness.pull(`${faulty.address}/x`)).image.id).toBe(image.id);
    const ranges = faulty.requests.filter(({ path }) => isBlob(path, blob0())).map(({ headers }) => headers.range);
    // A busy machine may be silent that long, too.
    expect(ranges.slice(0, 2)).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
  });

  test('truncated, and ignores ranges: starts over', async () => {
    const { address } = await registry({
      fault: ({ path, nth }) =>
        isBlob(path, blob0()) ? (nth === 1 ? { kind: 'truncate', after: 1000 } : { kind: 'ignore-range' }) : undefined,
    });
    expect((await harness.pull(`${address}/x`)).image.id).toBe(image.id);
  });

  test('a resumed download with a wrong digest is started over', async () => {
    const faulty = await registry({
      fault: ({ path, nth }) => {
        if (!isBlob(path, blob0())) return undefined;
        // The corrupt byte is the middle one, which is in the second part.
        if (nth === 1) return { kind: 'truncate', after: 100_000 };
        return nth === 2 ? { kind: 'corrupt' } : undefined;
      },
    });
    expect((await harness.pull(`${faulty.address}/x`)).image.id).toBe(image.id);
    const ranges = faulty.requests.filter(({ path }) => isBlob(path, blob0())).map(({ headers }) => headers.range);
    expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=/), undefined]);
  });

  test('a layer that does not match its digest', async () => {
    const { address } = await registry({
      fault: ({ path }) => (isBlob(path, blob0()) ? { kind: 'corrupt' } : undefined),
    });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'invalid',
      message: `filesystem layer verification failed for digest ${blob0()}`,
    });
    expect(harness.layers.has(digestOf(lower))).toBe(false);
  });

  test('a layer longer than its descriptor’s size', async () => {
    const { address } = await registry({
      fault: ({ path }) => (isBlob(path, blob0()) ? { kind: 'replace', body: noise(9, 900_000) } : undefined),
    });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(/is larger than/),
    });
  });

  test('a layer whose content does not match its diff_id', async () => {
    const other = await new TarBuilder().file('evil', 'x').build();
    const { gzipSync } = await import('node:zlib');
    const lying = buildImage({ layers: [{ tar: lower, blob: gzipSync(other) }] });
    const { address } = await registry({ images: { 'x:latest': lying } });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(/layers from manifest don't match image configuration/),
    });
    expect(harness.layers.layers.size).toBe(0);
  });

  test.each([
    ['no gzip inside', Buffer.from([0x1f, 0x8b, 0x08, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])],
    ['a cut gzip', Buffer.from('1f8b0800000000000003', 'hex')],
    ['bzip2', Buffer.from('BZh91AY&SY')],
    ['nothing', Buffer.alloc(0)],
  ])('a blob of %s', async (_, blob) => {
    const { address } = await registry({ images: { 'x:latest': buildImage({ layers: [{ tar: lower, blob }] }) } });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: expect.stringMatching(/invalid|unsupported/),
    });
  });

  test('a manifest that does not match the requested digest', async () => {
    const { address } = await registry({
      fault: ({ path }) => (path.includes('/manifests/') ? { kind: 'replace', body: Buffer.from('{}') } : undefined),
    });
    await expect(harness.pull(`${address}/x@${image.top.digest}`)).rejects.toMatchObject({
      kind: 'invalid',
      message: `manifest verification failed for digest ${image.top.digest}`,
    });
  });

  test('an endless manifest', async () => {
    const { address } = await registry({
      fault: ({ path }) =>
        path.includes('/manifests/') ? { kind: 'replace', body: Buffer.alloc(5 << 20, 32) } : undefined,
    });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(/larger than/),
    });
  });

  test('a configuration that was changed', async () => {
    const { address } = await registry({
      fault: ({ path }) => (isBlob(path, image.id) ? { kind: 'corrupt' } : undefined),
    });
    await expect(harness.pull(`${address}/x`)).rejects.toThrow(
      `error pulling image configuration: image config verification failed for digest ${image.id}`,
    );
  });

  test('never answers a request', async () => {
    const { address } = await registry({
      fault: ({ path }) => (path.includes('/manifests/') ? { kind: 'hang' } : undefined),
    });
    await harness.reopen({}, { headers: 700 });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'timeout',
      message: expect.stringMatching(/net\/http: timeout awaiting response headers/),
    });
  });

  test('stalls, and the client goes away', async () => {
    const leaving = new AbortController();
    const { address } = await registry({
      fault: ({ path }) => {
        if (!isBlob(path, blob0())) return undefined;
        setTimeout(() => leaving.abort(), 200);
        return { kind: 'stall', after: 10 };
      },
    });
    await expect(harness.pull(`${address}/x`, { signal: leaving.signal })).rejects.toMatchObject({ kind: 'cancelled' });
  });

  test('accepts connections and says nothing', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await harness.reopen({}, { connect: 1000, headers: 700 });
    await expect(harness.pull(`127.0.0.1:${port}/x`)).rejects.toMatchObject({ kind: 'timeout' });
    server.close();
  });

  test('redirects endlessly', async () => {
    const { address } = await registry({
      fault: ({ path }) =>
        path.includes('/manifests/') ? { kind: 'redirect', location: '/v2/x/manifests/latest' } : undefined,
    });
    await expect(harness.pull(`${address}/x`)).rejects.toThrow(/stopped after 10 redirects/);
  });
});

describe('missing images', () => {
  test('no such tag', async () => {
    const { address } = await registry();
    const failed = harness.pull(`${address}/x:nope`);
    await expect(failed).rejects.toMatchObject({
      kind: 'notFound',
      message: `manifest for ${address}/x:nope not found: manifest unknown: manifest unknown`,
    });
  });

  test('nobody listens', async () => {
    await expect(harness.pull('127.0.0.1:1/x')).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
    });
  });

  test('denied', async () => {
    const body = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}';
    const { address } = await registry({
      fault: ({ path }) => (path.includes('/manifests/') ? { kind: 'status', status: 403, body } : undefined),
    });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'notFound',
      message: `pull access denied for ${address}/x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`,
    });
  });

  test('no progress before a failure', async () => {
    const { address } = await registry();
    const messages: unknown[] = [];
    await harness.service.pull(`${address}/x:nope`, { progress: (message) => messages.push(message) }).catch(() => {});
    expect(messages).toEqual([]);
  });
});

describe('credentials', () => {
  const login = { username: 'me', password: 'secret' };

  test('basic', async () => {
    const { address } = await registry({ auth: { kind: 'basic', user: 'me', password: 'secret' } });
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({
      kind: 'unauthorized',
      message: `Get "http://${address}/v2/x/manifests/latest": no basic auth credentials`,
    });
    await expect(harness.pull(`${address}/x`, { auth: { ...login, password: 'no' } })).rejects.toMatchObject({
      kind: 'unauthorized',
    });
    await harness.pull(`${address}/x`, { auth: login });
    expect(await harness.service.login({ ...login, serveraddress: address })).toBe('Login Succeeded');
    await expect(
      harness.service.login({ ...login, password: 'no', serveraddress: `http://${address}/v2/` }),
    ).rejects.toMatchObject({
      kind: 'unauthorized',
      message: `login attempt to http://${address}/v2/ failed with status: 401 Unauthorized`,
    });
  });

  test('an anonymous token', async () => {
    const faulty = await registry({ auth: { kind: 'token' } });
    await harness.pull(`${faulty.address}/x`);
    const asked = faulty.requests.filter(({ path }) => path.startsWith('/token'));
    expect(asked.map(({ path }) => path)).toEqual(['/token?service=test&scope=repository%3Ax%3Apull']);
  });

  test('a token for a password, renewed when it is refused', async () => {
    const faulty = await registry({ auth: { kind: 'token', user: 'me', password: 'secret', uses: 2 } });
    await expect(harness.pull(`${faulty.address}/x`)).rejects.toMatchObject({ kind: 'unauthorized' });
    await harness.pull(`${faulty.address}/x`, { auth: { auth: Buffer.from('me:secret').toString('base64') } });
    expect(faulty.requests.filter(({ path }) => path.startsWith('/token')).length).toBeGreaterThan(1);
    expect(await harness.service.login({ ...login, serveraddress: faulty.address })).toBe('Login Succeeded');
  });

  test('a token for an identity token', async () => {
    const { address } = await registry({
      auth: { kind: 'token', user: 'me', password: 'secret', refreshToken: 'refresh' },
    });
    await harness.pull(`${address}/x`, { auth: { identitytoken: 'refresh' } });
  });

  test('are not sent to the target of a blob’s redirect', async () => {
    const storage = await registry();
    const front = await registry({
      auth: { kind: 'basic', user: 'me', password: 'secret' },
      fault: ({ path }) =>
        isBlob(path) ? { kind: 'redirect', location: `http://${storage.address}${path}` } : undefined,
    });
    await harness.pull(`${front.address}/x`, { auth: login });
    expect(storage.requests).toHaveLength(3);
    expect(storage.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });
});

describe('mirrors', () => {
  test('serve unqualified names, and only those', async () => {
    const mirror = await registry({ images: { 'library/busybox:latest': image } });
    await harness.reopen({ mirrors: [`http://${mirror.address}`] });
    const { image: pulled, messages } = await harness.pull('busybox', { auth: { username: 'me', password: 'secret' } });
    expect(messages[0]).toEqual({ status: 'Pulling from library/busybox', id: 'latest' });
    expect(messages.at(-1)).toEqual({ status: 'Status: Downloaded newer image for busybox:latest' });
    expect(pulled.repoTags).toEqual(['busybox:latest']);
    expect(mirror.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test('that fail are skipped', async () => {
    const broken = await registry({ fault: () => ({ kind: 'status', status: 404 }) });
    const good = await registry({ images: { 'library/busybox:latest': image } });
    await harness.reopen({ mirrors: ['http://127.0.0.1:1', `http://${broken.address}`, `http://${good.address}`] });
    expect((await harness.pull('busybox')).image.id).toBe(image.id);
  });
});

describe('https', () => {
  let tls: { key: string; cert: string };

  beforeAll(() => {
    tls = selfSigned();
  });

  test('on loopback is accepted with any certificate', async () => {
    const { address } = await registry({ tls });
    expect((await harness.pull(`${address}/x`)).image.id).toBe(image.id);
  });

  test('a mirror elsewhere needs a trusted certificate', async () => {
    const { address } = await registry({ tls, images: { 'library/x:latest': image } });
    // A name that does not count as loopback, though it resolves to it.
    const port = address.split(':')[1];
    await expect(harness.pull(`localhost.localdomain.invalid:${port}/x`)).rejects.toThrow(/no such host|lookup/);
    await harness.reopen({ mirrors: [`https://${address}`], certificateAuthorities: [tls.cert] });
    expect((await harness.pull('x')).image.id).toBe(image.id);
  });
});

describe('what is left behind', () => {
  test('a full disk midway leaves nothing', async () => {
    const { address } = await registry();
    harness.layers.beforePublish = async ({ chainId }) => {
      if (chainId !== digestOf(lower)) throw insufficientResources('no space left on device');
    };
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({ kind: 'insufficientResources' });
    expect(harness.layers.layers.size).toBe(0);
    expect(harness.service.list()).toEqual([]);
  });

  test('any other failure midway leaves only whole layers, and the next pull continues', async () => {
    const { address } = await registry();
    harness.layers.beforePublish = async ({ chainId }) => {
      if (chainId !== digestOf(lower)) throw unavailable('the datastore does not answer');
    };
    await expect(harness.pull(`${address}/x`)).rejects.toMatchObject({ kind: 'unavailable' });
    expect([...harness.layers.layers.keys()]).toEqual([digestOf(lower)]);
    expect(harness.service.list()).toEqual([]);
    harness.layers.beforePublish = async () => {};
    const { statuses } = await harness.pull(`${address}/x`);
    expect(statuses).toContain('Already exists');
  });

  test('layers of a failed pull are removed at the next start', async () => {
    const { address } = await registry();
    harness.layers.beforePublish = async ({ chainId }) => {
      if (chainId !== digestOf(lower)) throw unavailable('the datastore does not answer');
    };
    await harness.pull(`${address}/x`).catch(() => {});
    expect(harness.layers.layers.size).toBe(1);
    await harness.reopen();
    expect(harness.layers.layers.size).toBe(0);
  });

  test('closing the service ends its pulls', async () => {
    const { address } = await registry({ fault: ({ path }) => (isBlob(path) ? { kind: 'hang' } : undefined) });
    const pull = harness.pull(`${address}/x`);
    const failed = expect(pull).rejects.toMatchObject({ kind: 'cancelled' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await harness.service.close();
    await failed;
  });
});
