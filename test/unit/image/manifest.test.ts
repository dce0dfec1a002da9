import { describe, expect, test } from 'vitest';
import { parseConfig, parseManifest, selectManifest } from '../../../appliance/image/manifest.js';
import { parsePlatform, platformMatch } from '../../../appliance/image/platform.js';
import { buildImage, buildIndex } from '../../support/registry/image-builder.js';

const DIGEST = `sha256:${'0'.repeat(64)}`;
const OCI = 'application/vnd.oci.image.manifest.v1+json';
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
    ['no config', { schemaVersion: 2, layers: [] }, 'invalid', /config/],
    ['a chart', { schemaVersion: 2, config: layer('application/vnd.helm'), layers: [] }, 'unsupported', /not an image/],
    [
      'a bad digest',
      { schemaVersion: 2, config, layers: [layer('application/vnd.oci.image.layer.v1.tar', 'sha256:../../x')] },
      'invalid',
      /digest/,
    ],
    [
      'a foreign layer',
      { schemaVersion: 2, config, layers: [layer('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')] },
      'unsupported',
      /foreign/,
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

describe('selectManifest', () => {
  const index = (...platforms: [string, string, string?][]) => ({
    kind: 'index' as const,
    manifests: platforms.map(([os, architecture, variant], position) => ({
      mediaType: OCI,
      digest: `sha256:${String(position).repeat(64)}`,
      size: 1,
      platform: { os, architecture, variant: variant ?? '' },
    })),
  });

  test('picks linux/amd64 and no attestation', () => {
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

  test('says what is missing, as Docker does', () => {
    expect(() => selectManifest(index(['linux', 'arm64']))).toThrow(
      expect.objectContaining({
        kind: 'notFound',
        message: 'no matching manifest for linux/amd64 in the manifest list entries',
      }),
    );
  });

  test('platforms are told in several ways', () => {
    expect(parsePlatform('linux/x86_64')).toEqual(parsePlatform('amd64'));
    expect(parsePlatform('linux/arm64/v8')).toEqual(parsePlatform('linux/aarch64'));
    expect(platformMatch(parsePlatform('linux/amd64'), parsePlatform('linux/amd64/v3'))).toBe(0);
    expect(() => parsePlatform('a/b/c/d')).toThrow(expect.objectContaining({ kind: 'invalid' }));
  });
});

describe('parseConfig', () => {
  test('nulls are as good as nothing, unknown fields are left out', () => {
    const parsed = parseConfig(
      Buffer.from(
        JSON.stringify({
          architecture: 'amd64',
          os: 'linux',
          created: null,
          config: { Env: null, Labels: null, Cmd: null, Entrypoint: ['/x'], Volumes: { '/data': {} }, Odd: 1 },
          rootfs: { type: 'layers', diff_ids: null },
          history: null,
        }),
      ),
    );
    expect(parsed.config).toEqual({ Cmd: null, Entrypoint: ['/x'], Volumes: { '/data': {} } });
    expect(parsed.rootfs.diff_ids).toEqual([]);
  });

  test.each([
    [{ architecture: 'amd64', os: 'linux' }],
    [{ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: ['sha256:1'] } }],
    [{ architecture: 'amd64', os: 'linux', config: { Env: 'A=1' }, rootfs: { type: 'layers', diff_ids: [] } }],
    [[]],
    [7],
  ])('refuses %j', (value) => {
    expect(() => parseConfig(Buffer.from(JSON.stringify(value)))).toThrow(expect.objectContaining({ kind: 'invalid' }));
  });
});
