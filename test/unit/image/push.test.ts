/** Pushes to registries that misbehave. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ProgressMessage, RegistryAuth } from '../../../appliance/image/types.js';
import { eachWithHarness } from '../../support/registry/each-with-harness.js';
import {
  type Fault,
  type FaultyOptions,
  type FaultyRegistry,
  startFaultyRegistry,
} from '../../support/registry/faulty-registry.js';
import { ImageHarness } from '../../support/registry/harness.js';
import { type BuiltImage, buildImage } from '../../support/registry/image-builder.js';
import { selfSigned } from '../../support/registry/self-signed.js';
import { TarBuilder } from '../../support/registry/tar-builder.js';

const harness = eachWithHarness();
const registries: FaultyRegistry[] = [];
afterEach(async () => {
  await Promise.all(registries.splice(0).map((registry) => registry.stop()));
});

async function registry(options: FaultyOptions = {}): Promise<FaultyRegistry> {
  const started = await startFaultyRegistry(options);
  registries.push(started);
  return started;
}

/** Has an image with a layer that is too large for a single request, and one with a small one. */
let from: FaultyRegistry;
beforeAll(async () => {
  const image = async (bytes: number): Promise<BuiltImage> =>
    buildImage({ layers: [await new TarBuilder().file('noise', randomBytes(bytes)).build()] });
  from = await startFaultyRegistry({ images: { 'x:latest': await image(1_200_000), 'small:latest': await image(9) } });
});
afterAll(() => from.stop());

/** Tags an image for a registry. */
async function imageFor(target: string, image: 'x' | 'small' = 'x'): Promise<void> {
  await harness().pull(`${from.address}/${image}`);
  await harness().service.tag(`${from.address}/${image}`, target);
}

interface Pushed {
  statuses: string[];
  digest: string;
}

async function push(reference: string, auth?: RegistryAuth, signal?: AbortSignal): Promise<Pushed> {
  const messages: ProgressMessage[] = [];
  await harness().service.push(reference, {
    progress: (message) => messages.push(message),
    ...(auth ? { auth } : {}),
    ...(signal ? { signal } : {}),
  });
  return {
    statuses: messages.flatMap(({ status }) => status ?? []),
    digest: messages.find(({ aux }) => aux !== undefined)?.aux?.Digest ?? '',
  };
}

/** What is in the registry is what was pushed: another service pulls it. */
async function expectThere({ address }: FaultyRegistry, { digest }: Pushed): Promise<void> {
  const { image } = await harness().pull(`${address}/y:1`);
  expect(image.repoDigests).toContain(`${address}/y@${digest}`);
}

const isUpload = (path: string): boolean => path.includes('/blobs/uploads/upload-');
const json = (code: string, message: string): string => JSON.stringify({ errors: [{ code, message }] });

/** The faults of the first requests with a method, one after the other. */
function faultsOf(method: string, ...faults: Fault[]): NonNullable<FaultyOptions['fault']> {
  return (request) => (request.method === method && request.path !== '/v2/' ? faults.shift() : undefined);
}

describe('an upload goes on', () => {
  test.each<[string, () => NonNullable<FaultyOptions['fault']>]>([
    ['when the answer is lost', () => faultsOf('PATCH', { kind: 'lose-answer' })],
    ['when the last answer is lost', () => faultsOf('PUT', { kind: 'lose-answer' })],
    ['when the registry has forgotten it', () => faultsOf('PATCH', { kind: 'forget' })],
    ['after 503', () => faultsOf('PATCH', { kind: 'status', status: 503 })],
    [
      'after 429 and the time that it names',
      () => faultsOf('PATCH', { kind: 'status', status: 429, headers: { 'retry-after': '1' } }),
    ],
    ['after 500 at the beginning', () => faultsOf('POST', { kind: 'status', status: 500 })],
    ['after 500 when asked what is there', () => faultsOf('HEAD', { kind: 'status', status: 500 })],
    [
      'when it arrived damaged, in two pieces',
      () => faultsOf('PATCH', { kind: 'cut-upload', after: 600_000 }, { kind: 'corrupt-upload' }),
    ],
  ])('%s', async (_, fault) => {
    const to = await registry({ fault: fault() });
    await imageFor(`${to.address}/y:1`);
    const pushed = await push(`${to.address}/y:1`);
    await expectThere(to, pushed);
    expect(to.uploads.unfinished).toBe(0);
  });

  test('where it was cut, and sends only what is missing', async () => {
    const to = await registry({ fault: faultsOf('PATCH', { kind: 'cut-upload', after: 600_000 }) });
    await imageFor(`${to.address}/y:1`);
    const pushed = await push(`${to.address}/y:1`);
    await expectThere(to, pushed);
    expect(pushed.statuses).toContain('Retrying in 1 second');
    const ranges = to.requests
      .filter(({ method }) => method === 'PATCH')
      .map(({ headers }) => headers['content-range']);
    expect(ranges).toEqual([expect.stringMatching(/^0-/), expect.stringMatching(/^600000-/)]);
  });

  test('in pieces, where large requests are refused', async () => {
    const to = await registry({ uploads: { maxRequest: 200_000, minChunk: 100_000 } });
    await imageFor(`${to.address}/y:1`);
    await expectThere(to, await push(`${to.address}/y:1`));
    const lengths = to.requests
      .filter(({ method }) => method === 'PATCH')
      .map(({ headers }) => Number(headers['content-length']));
    expect(lengths.filter((length) => length <= 200_000).length).toBeGreaterThan(5);
  });

  test('until pieces cannot be smaller', async () => {
    const to = await registry({ uploads: { maxRequest: 1000 } });
    await imageFor(`${to.address}/y:1`);
    await expect(push(`${to.address}/y:1`)).rejects.toThrow(/^received unexpected HTTP status: 413 /);
  });
});

describe('authentication', () => {
  const auth = { kind: 'token', user: 'u', password: 'p', refreshToken: 'long-lived' } as const;
  const scopes = (to: FaultyRegistry): string[] => [
    ...new Set(
      to.requests
        .filter(({ path }) => path.startsWith('/token'))
        .flatMap(({ path }) => new URL(path, 'http://x').searchParams.getAll('scope').join(' ')),
    ),
  ];

  test('a token is for pull and push, and is renewed in the middle', async () => {
    const to = await registry({ auth: { ...auth, uses: 2 } });
    await imageFor(`${to.address}/y:1`);
    await expectThereWith(to, await push(`${to.address}/y:1`, { username: 'u', password: 'p' }));
    expect(scopes(to)).toContain('repository:y:pull,push');
    expect(to.requests.filter(({ path }) => path.startsWith('/token')).length).toBeGreaterThan(2);
  });

  async function expectThereWith(to: FaultyRegistry, { digest }: Pushed): Promise<void> {
    const { image } = await harness().pull(`${to.address}/y:1`, { auth: { username: 'u', password: 'p' } });
    expect(image.repoDigests).toContain(`${to.address}/y@${digest}`);
  }

  test('an identity token is exchanged for one', async () => {
    const to = await registry({ auth });
    await imageFor(`${to.address}/y:1`);
    await expectThereWith(to, await push(`${to.address}/y:1`, { identitytoken: 'long-lived' }));
    await expect(push(`${to.address}/y:1`, { identitytoken: 'another' })).rejects.toThrow(/^unauthorized: /);
  });

  test('basic', async () => {
    const to = await registry({ auth: { kind: 'basic', user: 'u', password: 'p' } });
    await imageFor(`${to.address}/y:1`);
    await expectThereWith(to, await push(`${to.address}/y:1`, { username: 'u', password: 'p' }));
    await expect(push(`${to.address}/y:1`)).rejects.toThrow(/^no basic auth credentials$/);
  });

  test('a mount needs one for both repositories; without it the layer is sent', async () => {
    let strict = false;
    const to = await registry({
      auth: { kind: 'token' },
      fault: ({ path, query }) =>
        strict && path === '/token' && query.getAll('scope').length > 1
          ? { kind: 'status', status: 403, body: '{"details":"access to one of them is denied"}' }
          : undefined,
    });
    await imageFor(`${to.address}/y:1`);
    await push(`${to.address}/y:1`);
    for (const name of ['z', 'w']) await harness().service.tag(`${to.address}/y:1`, `${to.address}/${name}:1`);
    expect((await push(`${to.address}/z:1`)).statuses).toContain('Mounted from y');
    expect(scopes(to)).toContain('repository:z:pull,push repository:y:pull');
    strict = true;
    expect((await push(`${to.address}/w:1`)).statuses).toContain('Pushed');
  });
});

test('TLS needs a certificate that is trusted, or permission to do without', async () => {
  const tls = selfSigned();
  const to = await registry({ tls });
  const target = `${to.address}/y:1`;
  await imageFor(target, 'small');
  await expectThere(to, await push(target));
  // The same address, but not by a name that is known as loopback.
  const named = `2130706433:${to.address.split(':')[1]}/y:1`;
  await imageFor(named, 'small');
  await expect(push(named)).rejects.toThrow(/tls: failed to verify certificate: x509: certificate signed by unknown/);
  await harness().reopen({ certificateAuthorities: [tls.cert] });
  await push(named);
});

test('a registry that does not mount gets the layer', async () => {
  const to = await registry({ uploads: { mounts: false } });
  await imageFor(`${to.address}/y:1`);
  await push(`${to.address}/y:1`);
  await harness().service.tag(`${to.address}/y:1`, `${to.address}/z:1`);
  expect((await push(`${to.address}/z:1`)).statuses).toContain('Pushed');
  expect(to.uploads.unfinished).toBe(0);
});

test('another server that an upload goes to gets no credentials', async () => {
  const store = await registry();
  const to = await registry({
    auth: { kind: 'basic', user: 'u', password: 'p' },
    fault: ({ method, path, query }) =>
      (method === 'PATCH' || method === 'PUT') && isUpload(path)
        ? { kind: 'redirect', location: `http://${store.address}${path}?${query}` }
        : undefined,
  });
  await imageFor(`${to.address}/y:1`, 'small');
  // It does not know of the upload that the first one began, so it is begun again, and fails in the end.
  await expect(push(`${to.address}/y:1`, { username: 'u', password: 'p' })).rejects.toThrow(/^blob upload unknown/);
  expect(store.requests.length).toBeGreaterThan(0);
  expect(store.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
});

test('a registry may name itself in full', async () => {
  let address = '';
  const to = await registry({ uploads: { location: () => `http://${address}` } });
  address = to.address;
  await imageFor(`${to.address}/y:1`);
  await expectThere(to, await push(`${to.address}/y:1`));
});

describe('refused in the words of the registry', () => {
  test.each<[string, NonNullable<FaultyOptions['fault']>, RegExp]>([
    [
      'denied',
      ({ method }) =>
        method === 'POST'
          ? { kind: 'status', status: 403, body: json('DENIED', 'requested access to the resource is denied') }
          : undefined,
      /^denied: requested access to the resource is denied$/,
    ],
    [
      'a name that is unknown',
      ({ method }) =>
        method === 'POST'
          ? { kind: 'status', status: 404, body: json('NAME_UNKNOWN', 'repository name not known to registry') }
          : undefined,
      /^name unknown: repository name not known to registry$/,
    ],
    [
      'no registry at all',
      ({ method }) => (method === 'POST' ? { kind: 'status', status: 404 } : undefined),
      /^received unexpected HTTP status: 404 Not Found$/,
    ],
    [
      'a quota',
      ({ method }) =>
        method === 'POST'
          ? {
              kind: 'status',
              status: 403,
              body: json(
                'DENIED',
                'adding 3 MiB of storage resource, which when updated to current usage will exceed the configured upper limit',
              ),
            }
          : undefined,
      /^denied: adding 3 MiB of storage/,
    ],
    [
      'a digest',
      ({ method }) => (method === 'PATCH' ? { kind: 'corrupt-upload' } : undefined),
      /^digest invalid: provided digest did not match uploaded content$/,
    ],
    [
      'a manifest',
      ({ method, path }) =>
        method === 'PUT' && path.includes('/manifests/')
          ? { kind: 'status', status: 400, body: json('MANIFEST_INVALID', 'manifest invalid') }
          : undefined,
      /^manifest invalid: manifest invalid$/,
    ],
    [
      'no place to send to',
      ({ method }) => (method === 'POST' ? { kind: 'status', status: 202 } : undefined),
      /did not say where to send/,
    ],
    [
      'server errors that do not end',
      ({ method }) => (method === 'PATCH' ? { kind: 'status', status: 500 } : undefined),
      /^received unexpected HTTP status: 500 Internal Server Error$/,
    ],
  ])('%s', async (_, fault, words) => {
    const to = await registry({ fault });
    await imageFor(`${to.address}/y:1`);
    await expect(push(`${to.address}/y:1`)).rejects.toThrow(words);
    expect(to.uploads.manifests.size).toBe(0);
    // It is given up there, too, which is not waited for.
    await expect.poll(() => to.uploads.unfinished).toBe(0);
  });
});

test('a client that goes away ends the push', async () => {
  const abort = new AbortController();
  const to = await registry({
    fault: ({ method }) => {
      if (method !== 'PATCH') return undefined;
      setImmediate(() => abort.abort());
      return { kind: 'hang' };
    },
  });
  await imageFor(`${to.address}/y:1`);
  await expect(push(`${to.address}/y:1`, undefined, abort.signal)).rejects.toMatchObject({ kind: 'cancelled' });
  await expect.poll(() => to.uploads.unfinished).toBe(0);
  expect(to.uploads.manifests.size).toBe(0);
});

test('layers that an earlier version stored leave with digests of their own, which is said', async () => {
  const to = await registry();
  await imageFor(`${to.address}/y:1`, 'small');
  const before = harness().service.resolve(`${to.address}/y:1`);
  harness().layers.ofEarlierVersion = true;
  const pushed = await push(`${to.address}/y:1`);
  expect(pushed.statuses).toContainEqual(
    expect.stringMatching(/^Layer was stored by an earlier version: its digest changes to sha256:[0-9a-f]{64}$/),
  );
  expect(harness().service.resolve(before.id).repoDigests).toEqual(before.repoDigests);
  const saved = harness().service.save([before.id], {});
  const elsewhere = await ImageHarness.open();
  try {
    const { image } = await elsewhere.pull(`${to.address}/y:1`);
    expect(image.repoDigests).toEqual([`${to.address}/y@${pushed.digest}`]);
    expect(image.config.config).toEqual(before.config.config);
    await elsewhere.service.load(saved, { said: () => undefined });
    expect(elsewhere.service.list().map(({ id }) => id)).toEqual([image.id]);
    expect(image.id).not.toBe(before.id);
  } finally {
    await elsewhere.close();
  }
});

describe('a blob that is kept', () => {
  /** Pulls an image whose registry then goes away, and pushes it elsewhere. */
  const moved = async (keepBlobs: boolean): Promise<{ pulled: string; pushed: Pushed; to: FaultyRegistry }> => {
    const layers = [await new TarBuilder().file('noise', randomBytes(5000)).build()];
    // A push compresses by gzip.
    const image = buildImage({ layers, compression: 'zstd' });
    const gone = await registry({ images: { 'x:latest': image } });
    const to = await registry();
    await harness().reopen({ keepBlobs });
    await harness().pull(`${gone.address}/x`);
    const [digest = ''] = harness().service.list()[0]?.repoDigests ?? [];
    await harness().service.tag(`${gone.address}/x`, `${to.address}/y:1`);
    await gone.stop();
    registries.splice(registries.indexOf(gone), 1);
    return { pulled: digest.replace(/^.*@/, ''), pushed: await push(`${to.address}/y:1`), to };
  };

  test('keeps the digest of its image when the registry that it came from is gone', async () => {
    const { pulled, pushed, to } = await moved(true);
    expect(pushed.digest).toBe(pulled);
    expect(pushed.statuses).toContain('Pushed');
    const sizes = harness().service.list()[0]?.blobSizes ?? [];
    expect(sizes).toEqual([[...harness().layers.blobs.values()][0]?.length]);
    await expectThere(to, pushed);
    expect(await harness().spooled()).toEqual([]);
  });

  test('is not sent when it is damaged: the layer is compressed anew', async () => {
    const { layers } = harness();
    const set = layers.blobs.set.bind(layers.blobs);
    layers.blobs.set = (id) => set(id, Buffer.from('damaged'));
    const { pulled, pushed, to } = await moved(true);
    expect(pushed.digest).not.toBe(pulled);
    await expectThere(to, pushed);
  });

  test('is what keeps the digest: without it, it is another one', async () => {
    const { pulled, pushed } = await moved(false);
    expect(pushed.digest).not.toBe(pulled);
    expect(harness().layers.blobs.size).toBe(0);
  });
});
