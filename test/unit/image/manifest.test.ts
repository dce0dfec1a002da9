import { describe, expect, test } from 'vitest';
import { checkImage, parseManifest, selectManifest } from '../../../appliance/image/manifest.js';
import { parsePlatform, platformMatch } from '../../../appliance/image/platform.js';
import { buildImage, buildIndex } from '../../support/registry/image-builder.js';

const DIGEST = `sha256:${'0'.repeat(64)}`;
const OCI = 'application/vnd.oci.image.manifest.v1+json';
const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json';
const layer = (mediaType: string, digest = DIGEST) => ({ mediaType, digest, size: 1 });
const config = layer('application/vnd.oci.image.config.v1+json');
const parse = (value: unknown, mediaType = OCI) =>
  parseManifest({ body: Buffer.from(JSON.stringify(value)), mediaType }, 'x:latest');

describe('parseManifest', () => {
  test.each(['oci', 'docker'] as const)('images and indexes of %s', (format) => {
    const image = buildImage({ layers: [Buffer.from('x')], format });
    expect(parseManifest(image.top, 'x')).toMatchObject({ kind: 'image', layers: [{ size: expect.any(Number) }] });
    expect(parseManifest(buildIndex([image], format).top, 'x')).toMatchObject({ kind: 'index' });
  });

  test.each<[string, unknown, string, RegExp]>([
    ['schema 1', { schemaVersion: 1, fsLayers: [] }, 'unsupported', /schema 1 .*not supported/],
    ['an unknown type', { schemaVersion: 2, mediaType: 'application/x' }, 'unsupported', /media type "application\/x"/],
    ['both kinds', { schemaVersion: 2, config, layers: [], manifests: [] }, 'invalid', /both/],
    ['no config', { schemaVersion: 2, layers: [] }, 'invalid', /digest/],
    [
      "a plugin in Docker's own manifest",
      { schemaVersion: 2, mediaType: DOCKER, config: layer('application/vnd.docker.plugin.v1+json'), layers: [] },
      'invalid',
      /^Encountered remote "application\/vnd.docker.plugin.v1\+json"\(plugin\) when fetching$/,
    ],
    [
      'a bad digest',
      { schemaVersion: 2, config, layers: [layer('application/vnd.oci.image.layer.v1.tar', 'sha256:../../x')] },
      'invalid',
      /digest/,
    ],
    ['null', null, 'invalid', /.*/],
  ])('refuses %s', (_, value, kind, message) => {
    const error = (() => {
      try {
        parse(value);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({ message: expect.stringMatching(message) });
    if (value !== null) expect(error).toMatchObject({ kind });
  });

  test('refuses what is not JSON', () => {
    expect(() => parseManifest({ body: Buffer.from('<html>'), mediaType: OCI }, 'x')).toThrow(/not JSON/);
  });
});

describe('media types', () => {
  const of = (mediaType: string | undefined, configType: string | undefined, layerType?: string) => {
    const bare = { digest: DIGEST, size: 1 };
    const manifest = parse({
      schemaVersion: 2,
      mediaType,
      config: { ...bare, mediaType: configType },
      layers: [{ ...bare, mediaType: layerType, urls: ['http://elsewhere/x'], data: 'e30=' }],
    });
    if (manifest.kind === 'image') checkImage(manifest);
    return manifest.kind;
  };

  test.each(['application/octet-stream', 'application/json', 'text/html', '', undefined])(
    'a configuration %j',
    (type) => {
      for (const mediaType of [DOCKER, OCI, undefined]) expect(of(mediaType, type)).toBe('image');
    },
  );

  test.each([
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    'application/octet-stream',
    'application/json',
    'application/vnd.docker.image.rootfs.diff.tar.zstd',
    'APPLICATION/VND.OCI.IMAGE.LAYER.V1.TAR',
    undefined,
  ])('a layer %j', (type) => {
    for (const mediaType of [DOCKER, OCI, undefined]) expect(of(mediaType, 'text/html', type)).toBe('image');
  });

  test.each([
    ['application/vnd.cncf.helm.config.v1+json', 'application/octet-stream'],
    ['application/vnd.oci.empty.v1+json', 'application/octet-stream'],
    ['text/html', 'application/x-tar'],
    ['text/html', 'application/vnd.oci.imagesx'],
  ])('no image: %s with %s', (type, layerType) => {
    const refused = type === 'text/html' ? layerType : type;
    expect(() => of(OCI, type, layerType)).toThrow(`unsupported media type ${refused}`);
    if (refused === type)
      expect(() => of(DOCKER, type, layerType)).toThrow(`Encountered remote "${type}"(unknown) when fetching`);
  });

  test('names in another case', () => {
    const text = `{"SchemaVersion":2,"config":{"Digest":"${DIGEST}","SIZE":3},"layers":null}`;
    expect(parseManifest({ body: Buffer.from(text), mediaType: OCI }, 'x')).toMatchObject({ config: { size: 3 } });
  });
});

describe('selectManifest', () => {
  test('a manifest without a platform comes after those that match', () => {
    const entry = (n: number, platform?: object) => ({ ...layer(OCI, `sha256:${String(n).repeat(64)}`), platform });
    const chosen = (...manifests: object[]) => {
      const parsed = parse({ schemaVersion: 2, manifests }, 'application/vnd.oci.image.index.v1+json');
      return parsed.kind === 'index' ? selectManifest(parsed).digest[7] : null;
    };
    const [arm, amd] = [
      { os: 'linux', architecture: 'arm64' },
      { os: 'linux', architecture: 'amd64' },
    ];
    const none = { os: 'unknown', architecture: 'unknown' };
    expect(chosen(entry(1), entry(2))).toBe('1');
    expect(chosen(entry(1), entry(2, amd))).toBe('2');
    expect(chosen(entry(1, arm), entry(2, { os: '', architecture: '' }))).toBe('2');
    expect(chosen(entry(1, { os: 'linux', architecture: '386' }), entry(2))).toBe('1');
    expect(chosen(entry(1, { os: 'linux', architecture: '386' }), entry(2, amd))).toBe('2');
    expect(() => chosen(entry(1, none), entry(2, arm))).toThrow('no matching manifest for linux/amd64');
  });

  const index = (...platforms: [string, string, string?][]) => ({
    kind: 'index' as const,
    manifests: platforms.map(([os, architecture, variant], position) => ({
      mediaType: OCI,
      digest: `sha256:${String(position).repeat(64)}`,
      size: 1,
      platform: { os, architecture, variant: variant ?? '' },
    })),
  });

  test('picks linux/amd64, not an attestation', () => {
    const chosen = selectManifest(
      index(['unknown', 'unknown'], ['linux', 'arm64'], ['linux', 'amd64'], ['windows', 'amd64']),
    );
    expect(chosen.digest).toBe(`sha256:${'2'.repeat(64)}`);
  });

  test('picks the best variant', () => {
    const wanted = parsePlatform('linux/arm/v7');
    const chosen = selectManifest(
      index(['linux', 'arm', 'v5'], ['linux', 'arm', 'v8'], ['linux', 'arm', 'v6']),
      wanted,
    );
    expect(chosen.digest).toBe(`sha256:${'2'.repeat(64)}`);
  });

  test('reports a missing platform as Docker does', () => {
    expect(() => selectManifest(index(['linux', 'arm64']))).toThrow(
      expect.objectContaining({
        kind: 'notFound',
        message: 'no matching manifest for linux/amd64 in the manifest list entries',
      }),
    );
  });

  test('platforms may be written in several ways', () => {
    expect(parsePlatform('linux/x86_64')).toEqual(parsePlatform('amd64'));
    expect(parsePlatform('linux/arm64/v8')).toEqual(parsePlatform('linux/aarch64'));
    expect(platformMatch(parsePlatform('linux/amd64'), parsePlatform('linux/amd64/v3'))).toBe(0);
    expect(() => parsePlatform('a/b/c/d')).toThrow(expect.objectContaining({ kind: 'invalid' }));
  });
});
