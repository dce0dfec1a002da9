/** Images that leave and enter in archives: Docker's own, OCI layouts, and root filesystems. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { commitReference, parsePlatform } from '../../../appliance/image/index.js';
import type { LoadOptions } from '../../../appliance/image/types.js';
import { sha256 } from '../../../src/common/ids.js';
import { ImageHarness } from '../../support/registry/harness.js';
import { type Entry, streamOf, tarOf } from '../disk/support.js';

let harness: ImageHarness;
beforeEach(async () => {
  harness = await ImageHarness.open();
});
afterEach(() => harness.close());

const file = (name: string, content: Buffer | string): Entry => ({ name, content });
const digest = (content: Buffer | string): string => `sha256:${sha256(content)}`;
const layer = (name: string): Promise<Buffer> => tarOf([file(name, `content of ${name}`)]);

/** An image's configuration. */
const configOf = (layers: Buffer[], more: object = {}): string =>
  JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    created: '2020-01-02T03:04:05Z',
    config: { Cmd: ['x'] },
    rootfs: { type: 'layers', diff_ids: layers.map(digest) },
    ...more,
  });

const item = (config: string, layers: string[], tags: string[] | null): object => ({
  Config: config,
  RepoTags: tags,
  Layers: layers,
});

/** An archive as `docker save` wrote it before 25. */
async function dockerArchive(tags: string[] | null, ...changes: Entry[]): Promise<Buffer> {
  const layers = [await layer('a'), await layer('b')];
  const entries = [
    file('c.json', configOf(layers)),
    file('1/layer.tar', layers[0]!),
    file('2/layer.tar', layers[1]!),
    file('manifest.json', JSON.stringify([item('c.json', ['1/layer.tar', '2/layer.tar'], tags)])),
  ];
  return tarOf([...entries.filter(({ name }) => !changes.some((one) => one.name === name)), ...changes]);
}

async function load(archive: Buffer, options: Partial<LoadOptions> = {}): Promise<string[]> {
  const said: string[] = [];
  await harness.service.load(streamOf(archive), { said: (text) => said.push(text), ...options });
  return said;
}

async function save(...names: string[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of harness.service.save(names, {})) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** What GNU tar finds in an archive. */
function unpacked(archive: Buffer): { names: string[]; read: (name: string) => Buffer } {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-archive-'));
  try {
    const names = execFileSync('tar', ['-xvf', '-', '-C', directory], { input: archive }).toString().trim().split('\n');
    const files = new Map(
      names.filter((name) => !name.endsWith('/')).map((name) => [name, readFileSync(join(directory, name))]),
    );
    return { names, read: (name) => files.get(name)! };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe('loading', () => {
  test('an archive of Docker gives the image under all its tags', async () => {
    expect(await load(await dockerArchive(['t/ok:1', 't/ok:2']))).toEqual([
      'Loaded image: t/ok:1\n',
      'Loaded image: t/ok:2\n',
    ]);
    const image = harness.service.resolve('t/ok:2');
    expect(image.repoTags).toEqual(['t/ok:1', 't/ok:2']);
    expect(harness.layers.entries.get(image.chainIds[1]!)).toEqual(['b']);
    expect(harness.events.map(({ action, name }) => [action, name])).toEqual([['load', image.id]]);
    expect(await harness.spooled()).toEqual([]);
  });

  test('without tags it is named by its id', async () => {
    const [said] = await load(await dockerArchive(null));
    expect(said).toBe(`Loaded image ID: ${harness.service.list()[0]!.id}\n`);
  });

  test('a tag that another image has moves, and that is said', async () => {
    await load(await dockerArchive(['t/ok:1']));
    const { id } = harness.service.resolve('t/ok:1');
    const layers = [await layer('a')];
    const other = await tarOf([
      file('c.json', configOf(layers)),
      file('l', layers[0]!),
      file('manifest.json', JSON.stringify([item('c.json', ['l'], ['t/ok:1'])])),
    ]);
    expect(await load(other)).toEqual([
      `The image t/ok:1 already exists, renaming the old one with ID ${id} to empty string\n`,
      'Loaded image: t/ok:1\n',
    ]);
    expect(harness.service.resolve(id).repoTags).toEqual([]);
  });

  test('layers may be links to each other, and compressed', async () => {
    const same = await layer('a');
    const archive = await tarOf([
      file('c.json', configOf([same, same, same])),
      file('1/layer.tar', gzipSync(same)),
      { name: '2', type: 'symlink', linkname: './1' },
      { name: '3/layer.tar', type: 'symlink', linkname: '../2/layer.tar' },
      { name: '4/layer.tar', type: 'link', linkname: '1/layer.tar' },
      file(
        'manifest.json',
        JSON.stringify([item('c.json', ['2/layer.tar', './3/layer.tar', '4/layer.tar'], ['t/links:1'])]),
      ),
    ]);
    expect(await load(archive)).toEqual(['Loaded image: t/links:1\n']);
  });

  test('progress is told for each layer that is not there yet', async () => {
    const ids: (string | undefined)[] = [];
    const progress: LoadOptions['progress'] = ({ status, id }) => ids.push(`${status} ${id}`);
    await load(await dockerArchive(['t/ok:1']), { progress });
    expect(new Set(ids)).toEqual(
      new Set([await layer('a'), await layer('b')].map((tar) => `Loading layer ${sha256(tar).slice(0, 12)}`)),
    );
    ids.length = 0;
    await load(await dockerArchive(['t/ok:1']), { progress });
    expect(ids).toEqual([]);
  });

  test.each<[string, () => Promise<Buffer> | Buffer, RegExp]>([
    ['nothing', () => Buffer.alloc(0), /the archive has no image/],
    ['no manifest', () => tarOf([file('x', 'y')]), /the archive has no image: there is neither/],
    ['not a tar', () => Buffer.from('hello world'.repeat(100)), /a number in a tar header is malformed/],
    ['cut off', async () => (await dockerArchive(['t/x:1'])).subarray(0, 3000), /the tar ends in the middle/],
    ['only tags', () => tarOf([file('repositories', '{}')]), /the archive has no image/],
    ['a broken manifest', () => dockerArchive(null, file('manifest.json', '{')), /unexpected EOF/],
    [
      'a manifest of another shape',
      () => dockerArchive(null, file('manifest.json', '{"a":1}')),
      /cannot unmarshal object/,
    ],
    [
      'no configuration',
      () => dockerArchive(null, file('manifest.json', JSON.stringify([item('n.json', [], null)]))),
      /open n\.json: no such file/,
    ],
    ['a broken configuration', () => dockerArchive(null, file('c.json', '{')), /unexpected end of JSON input/],
    [
      'too few layers',
      () => dockerArchive(null, file('manifest.json', JSON.stringify([item('c.json', ['1/layer.tar'], null)]))),
      /layers length mismatch: expected 1, got 2/,
    ],
    [
      'a layer that is missing',
      () => dockerArchive(null, file('manifest.json', JSON.stringify([item('c.json', ['1/layer.tar', 'none'], null)]))),
      /open none: no such file/,
    ],
    [
      'a layer with other content',
      async () => dockerArchive(null, file('2/layer.tar', await layer('c'))),
      /invalid diffID for layer 1: expected "sha256:.*", got "sha256:/,
    ],
    ['a layer that is no tar', () => dockerArchive(null, file('2/layer.tar', 'x'.repeat(600))), /tar header/i],
    [
      'another operating system',
      async () =>
        dockerArchive(null, file('c.json', configOf([await layer('a'), await layer('b')], { os: 'windows' }))),
      /cannot load windows image on linux/,
    ],
    ['a tag in capitals', () => dockerArchive(['t/BAD:1']), /must be lowercase/],
    ['a digest as tag', () => dockerArchive([`t/x@sha256:${'0'.repeat(64)}`]), /invalid tag "t\/x@sha256:/],
    ['a name that climbs', () => dockerArchive(null, file('../x', 'y')), /invalid entry name "\.\.\/x"/],
    [
      'a configuration outside',
      () => dockerArchive(null, file('manifest.json', JSON.stringify([item('../../etc/passwd', [], null)]))),
      /"\.\.\/\.\.\/etc\/passwd" is not in the archive/,
    ],
    [
      'a link outside',
      () => dockerArchive(null, { name: 'c.json', type: 'symlink', linkname: '/etc/passwd' }),
      /open c\.json: no such file/,
    ],
    [
      'links in a circle',
      () =>
        dockerArchive(
          null,
          { name: 'c.json', type: 'symlink', linkname: 'd' },
          { name: 'd', type: 'symlink', linkname: 'c.json' },
        ),
      /open c\.json: no such file/,
    ],
    ['a sparse file', () => sparseArchive(), /sparse file/],
  ])('%s is refused, and leaves nothing', async (_, archive, words) => {
    await expect(load(await archive())).rejects.toThrow(words);
    expect(await harness.spooled()).toEqual([]);
    expect([...harness.layers.layers.keys()]).toEqual(harness.service.list().flatMap(({ chainIds }) => chainIds));
  });

  test('images before a faulty one stay', async () => {
    const one = await layer('a');
    const archive = await tarOf([
      file('c.json', configOf([one])),
      file('l', one),
      file(
        'manifest.json',
        JSON.stringify([item('c.json', ['l'], ['t/first:1']), item('none.json', ['l'], ['t/second:1'])]),
      ),
    ]);
    await expect(load(archive)).rejects.toThrow('open none.json: no such file or directory');
    expect(harness.service.list().flatMap(({ repoTags }) => repoTags)).toEqual(['t/first:1']);
  });

  test('images of other platforms than the one asked for are left out', async () => {
    const archive = await dockerArchive(
      ['t/x:1'],
      file('c.json', configOf([await layer('a'), await layer('b')], { architecture: 'arm64', variant: 'v8' })),
    );
    expect(await load(archive, { platform: parsePlatform('linux/amd64') })).toEqual([]);
    expect(await load(archive, { platform: parsePlatform('linux/arm64') })).toEqual(['Loaded image: t/x:1\n']);
  });
});

/** An archive of GNU tar with a file of a gigabyte that holds nothing. */
function sparseArchive(): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-archive-'));
  try {
    execFileSync('truncate', ['-s', '1G', join(directory, 'layer.tar')]);
    return execFileSync('tar', ['--sparse', '-C', directory, '-cf', '-', 'layer.tar']);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe('loading what other tools write', () => {
  const hex = (content: Buffer | string): string => sha256(content);
  /** How each tool names configuration and layers, what it compresses, and what else it writes. */
  const shapes: Record<string, (config: string, layers: Buffer[]) => { entries: Entry[]; items: object[] }> = {
    'docker save 1.10–24: legacy files beside the manifest, equal layers linked': (config, layers) => {
      const [a, b] = layers.map(hex);
      return {
        entries: [
          ...[a, b].flatMap((id, i) => [
            { name: `${id}/`, type: 'directory' as const },
            file(`${id}/VERSION`, '1.0'),
            file(`${id}/json`, '{}'),
            file(`${id}/layer.tar`, layers[i]!),
          ]),
          { name: 'c/layer.tar', type: 'symlink', linkname: `../${a}/layer.tar` },
          file(`${hex(config)}.json`, config),
          file('repositories', '{"t/tool":{"1":"x"}}'),
        ],
        items: [item(`${hex(config)}.json`, ['c/layer.tar', `${b}/layer.tar`], ['t/tool:1'])],
      };
    },
    'skopeo and buildah, docker-archive: layers at the top, links to them in directories': (config, layers) => ({
      entries: [
        ...layers.flatMap((tar): Entry[] => [
          file(`${hex(tar)}.tar`, tar),
          { name: `${hex(`id of ${hex(tar)}`)}/layer.tar`, type: 'symlink', linkname: `../${hex(tar)}.tar` },
        ]),
        file(`${hex(config)}.json`, config),
        file('repositories', '{}'),
      ],
      items: [
        item(
          `${hex(config)}.json`,
          layers.map((tar) => `${hex(tar)}.tar`),
          ['docker.io/t/tool:1'],
        ),
      ],
    }),
    'kaniko and crane: compressed layers by digest, a configuration without suffix': (config, layers) => ({
      entries: [
        file(digest(config), config),
        ...layers.map((tar) => file(`${hex(gzipSync(tar))}.tar.gz`, gzipSync(tar))),
      ],
      items: [
        item(
          digest(config),
          layers.map((tar) => `${hex(gzipSync(tar))}.tar.gz`),
          ['index.docker.io/t/tool:1'],
        ),
      ],
    }),
    'rules_oci: blobs as in a layout, without an index': (config, layers) => ({
      entries: [config, ...layers.map((tar) => gzipSync(tar))].map((one) => file(`blobs/sha256/${hex(one)}`, one)),
      items: [
        item(
          `blobs/sha256/${hex(config)}`,
          layers.map((tar) => `blobs/sha256/${hex(gzipSync(tar))}`),
          ['t/tool:1'],
        ),
      ],
    }),
    'nix dockerTools: names that begin with a dot, hard links between equal layers': (config, layers) => ({
      entries: [
        { name: './', type: 'directory' },
        ...layers.map((tar, i) => file(`./${i}/layer.tar`, tar)),
        { name: './2/layer.tar', type: 'link', linkname: './1/layer.tar' },
        file('./nix.json', config),
      ],
      items: [item('nix.json', ['0/layer.tar', '2/layer.tar'], ['t/tool:1'])],
    }),
    'jib: all at the top, in gzip of several members': (config, layers) => ({
      entries: [
        file('config.json', config),
        ...layers.map((tar, i) =>
          file(`${i}.tar.gz`, Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))])),
        ),
      ],
      items: [item('config.json', ['0.tar.gz', '1.tar.gz'], ['t/tool:1'])],
    }),
  };
  test.each(Object.keys(shapes))('%s', async (tool) => {
    const layers = [await layer('a'), await layer('b')];
    const { entries, items } = shapes[tool]!(configOf(layers), layers);
    expect(await load(await tarOf([...entries, file('manifest.json', JSON.stringify(items))]))).toEqual([
      'Loaded image: t/tool:1\n',
    ]);
    const { id, chainIds } = harness.service.resolve('t/tool:1');
    expect(id).toBe(digest(configOf(layers)));
    expect(chainIds.map((chainId) => harness.layers.entries.get(chainId))).toEqual([['a'], ['b']]);
  });
});

describe('loading an archive of Docker before 1.10', () => {
  const v1 = (id: string, more: object): Entry =>
    file(
      `${id}/json`,
      JSON.stringify({
        id,
        created: '2015-10-31T22:22:56.015925234Z',
        author: 'me',
        container_config: { Hostname: 'h', Cmd: ['/bin/sh', '-c', `echo <${id}> && true`] },
        docker_version: '1.9.1',
        config: { Env: ['A=b'], Cmd: ['/x'] },
        architecture: 'amd64',
        os: 'linux',
        Size: 2,
        ...more,
      }),
    );
  const layersOf = async (id: string, more: object = {}): Promise<Entry[]> => [
    { name: `${id}/`, type: 'directory' },
    file(`${id}/VERSION`, '1.0'),
    v1(id, more),
    file(`${id}/layer.tar`, await layer(id)),
  ];
  const two = async (): Promise<Entry[]> => [...(await layersOf('a')), ...(await layersOf('b', { parent: 'a' }))];
  const tags = (all: object): Entry => file('repositories', JSON.stringify({ 't/old': all }));

  test('gives the tagged images, with the configurations that Docker makes', async () => {
    expect(await load(await tarOf([...(await two()), tags({ 1: 'a', 2: 'b', latest: 'b' })]))).toEqual([
      'Loaded image: t/old:1\n',
      'Loaded image: t/old:2\n',
      'Loaded image: t/old:latest\n',
    ]);
    const { rawConfig, chainIds, repoTags } = harness.service.resolve('t/old:2');
    expect(repoTags).toEqual(['t/old:2', 't/old:latest']);
    expect(chainIds.map((chainId) => harness.layers.entries.get(chainId))).toEqual([['a'], ['b']]);
    const history = ['a', 'b'].map(
      (id) =>
        `{"created":"2015-10-31T22:22:56.015925234Z","created_by":"/bin/sh -c echo \\u003c${id}\\u003e \\u0026\\u0026 true","author":"me"}`,
    );
    expect(rawConfig.toString()).toBe(
      '{"architecture":"amd64","author":"me","config":{"Env":["A=b"],"Cmd":["/x"]},' +
        '"container_config":{"Hostname":"h","Cmd":["/bin/sh","-c","echo \\u003cb\\u003e \\u0026\\u0026 true"]},' +
        `"created":"2015-10-31T22:22:56.015925234Z","docker_version":"1.9.1","history":[${history.join(',')}],` +
        `"os":"linux","rootfs":{"type":"layers","diff_ids":["${digest(await layer('a'))}","${digest(await layer('b'))}"]}}`,
    );
  });

  test('without tags the uppermost layers are images', async () => {
    const [said, ...more] = await load(await tarOf(await two()));
    expect(said).toBe(`Loaded image ID: ${harness.service.list()[0]!.id}\n`);
    expect([more, harness.service.list()]).toEqual([[], [expect.objectContaining({ repoTags: [] })]]);
  });

  test.each<[string, () => Promise<Entry[]>, RegExp]>([
    ['a tag of no layer', async () => [...(await two()), tags({ 1: 'c' })], /invalid target ID: c/],
    [
      'a parent that is missing',
      async () => [...(await layersOf('b', { parent: 'a' })), tags({ 1: 'b' })],
      /open a\/json: no such file/,
    ],
    [
      'layers that are each other’s parents',
      async () => [
        ...(await layersOf('a', { parent: 'b' })),
        ...(await layersOf('b', { parent: 'a' })),
        tags({ 1: 'b' }),
      ],
      /more than 125 layers below it/,
    ],
    [
      'a parent outside',
      async () => [...(await layersOf('b', { parent: '../../etc' })), tags({ 1: 'b' })],
      /is not in the archive/,
    ],
    ['malformed tags', async () => [...(await two()), tags(['a'])], /open|malformed|invalid/],
    ['tags that are no JSON', async () => [...(await two()), file('repositories', '{')], /repositories in the archive/],
  ])('%s is refused, and leaves nothing', async (_, entries, words) => {
    await expect(load(await tarOf(await entries()))).rejects.toThrow(words);
    expect(await harness.spooled()).toEqual([]);
    expect(harness.service.list()).toEqual([]);
    expect(harness.layers.layers.size).toBe(0);
  });
});

describe('a hostile archive is refused in time', () => {
  const header = async (entry: Entry): Promise<Buffer> => (await tarOf([entry])).subarray(0, 512);
  async function* repeated(block: Buffer): AsyncGenerator<Buffer> {
    const piece = Buffer.concat(Array<Buffer>(512).fill(block));
    for (;;) yield piece;
  }

  test.each<Entry>([
    { name: 'd/', type: 'directory' },
    { name: 'l', type: 'symlink', linkname: 'm' },
  ])('with entries without end: $name', async (entry) => {
    const endless = Readable.from(repeated(await header(entry)), { objectMode: false });
    await expect(harness.service.load(endless, { said: () => undefined })).rejects.toThrow(/more than 100000 entries/);
    expect(await harness.spooled()).toEqual([]);
  });

  test.each<[string, string, RegExp]>([
    ['a document nested deeply', `${'['.repeat(4 << 20)}`, /exceeded max depth|invalid|unexpected/i],
    ['a document of many images', JSON.stringify(Array<null>(20_000).fill(null)), /more than 10000 images and tags/],
    [
      'many tags',
      JSON.stringify([item('c', [], Array<string>(20_000).fill('a:b'))]),
      /more than 10000 images and tags/,
    ],
    ['a document that is too long', ' '.repeat((16 << 20) + 1), /longer than 16777216 bytes/],
  ])('%s', async (_, manifest, words) => {
    await expect(load(await tarOf([file('manifest.json', manifest)]))).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringMatching(words),
    });
  });

  test('an index with very many entries of one name', async () => {
    const entry = { digest: `sha256:${'1'.repeat(64)}` };
    const index = JSON.stringify({ manifests: Array<object>(150_000).fill(entry) });
    await expect(load(await tarOf([file('index.json', index)]))).rejects.toThrow(/the archive has no image for/);
  });
});

describe('loading an OCI layout', () => {
  const types = 'application/vnd.oci.image';
  const blob = (content: Buffer | string): Entry => file(`blobs/sha256/${sha256(content)}`, content);
  const descriptor = (mediaType: string, content: Buffer | string, more: object = {}): object => ({
    mediaType: `${types}.${mediaType}`,
    digest: digest(content),
    size: Buffer.from(content).length,
    ...more,
  });

  async function ociImage(name: string, more: object = {}): Promise<{ entries: Entry[]; manifest: string }> {
    const tar = await layer(name);
    const packed = gzipSync(tar);
    const config = configOf([tar], more);
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: `${types}.manifest.v1+json`,
      config: descriptor('config.v1+json', config),
      layers: [descriptor('layer.v1.tar+gzip', packed)],
    });
    return { entries: [blob(packed), blob(config), blob(manifest)], manifest };
  }
  const layout = (entries: Entry[], manifests: object[]): Promise<Buffer> =>
    tarOf([file('oci-layout', '{}'), ...entries, file('index.json', JSON.stringify({ schemaVersion: 2, manifests }))]);
  const ref = (name: string): object => ({ annotations: { 'org.opencontainers.image.ref.name': name } });

  test.each([
    [
      'containerd’s name',
      { annotations: { 'io.containerd.image.name': 'docker.io/t/oci:1', 'org.opencontainers.image.ref.name': '1' } },
      'Loaded image: t/oci:1\n',
    ],
    ['a whole name', ref('t/oci:2'), 'Loaded image: t/oci:2\n'],
    ['a bare tag, which names nothing', ref('latest'), /^Loaded image ID: sha256:/],
    ['no annotations', {}, /^Loaded image ID: sha256:/],
  ])('with %s', async (_, more, words) => {
    const { entries, manifest } = await ociImage('a');
    const said = await load(await layout(entries, [descriptor('manifest.v1+json', manifest, more)]));
    expect(said).toEqual([typeof words === 'string' ? words : expect.stringMatching(words)]);
  });

  test('of several platforms this machine’s is taken, though the others’ layers are absent', async () => {
    const [here, there] = [await ociImage('a'), await ociImage('b', { architecture: 'arm64' })];
    const platform = (architecture: string): object => ({ platform: { os: 'linux', architecture } });
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: `${types}.index.v1+json`,
      manifests: [
        descriptor('manifest.v1+json', there.manifest, platform('arm64')),
        descriptor('manifest.v1+json', here.manifest, platform('amd64')),
        descriptor('manifest.v1+json', 'attestation', platform('unknown')),
      ],
    });
    const archive = await layout(
      [...here.entries, blob(index)],
      [descriptor('index.v1+json', index, ref('t/multi:1'))],
    );
    expect(await load(archive)).toEqual(['Loaded image: t/multi:1\n']);
    expect(harness.service.resolve('t/multi:1').config.architecture).toBe('amd64');
    await expect(load(archive, { platform: parsePlatform('linux/s390x') })).rejects.toThrow('no image for linux/s390x');
  });

  test('a manifest with other content than its digest says is refused', async () => {
    const { entries, manifest } = await ociImage('a');
    const damaged = entries.map((entry) =>
      entry.content === manifest ? { ...entry, content: `${manifest} ` } : entry,
    );
    await expect(load(await layout(damaged, [descriptor('manifest.v1+json', manifest)]))).rejects.toThrow(/is damaged/);
  });

  test('an index that contains itself is refused', async () => {
    const name = `blobs/sha256/${'1'.repeat(64)}`;
    const inner = { mediaType: `${types}.index.v1+json`, digest: `sha256:${'1'.repeat(64)}`, size: 1 };
    const text = JSON.stringify({ schemaVersion: 2, mediaType: inner.mediaType, manifests: [inner] });
    await expect(load(await layout([file(name, text)], [inner]))).rejects.toThrow(/is damaged|nested too deeply/);
  });
});

describe('saving', () => {
  test('gives an OCI layout that Docker reads too, with the layers as they came', async () => {
    await load(await dockerArchive(['t/ok:1', 't/ok:2']));
    const { id, rawConfig } = harness.service.resolve('t/ok:1');
    const { names, read } = unpacked(await save('t/ok:2', 't/ok:1'));
    expect(names.slice(0, 2)).toEqual(['blobs/', 'blobs/sha256/']);
    expect(names.slice(-4)).toEqual(['index.json', 'manifest.json', 'oci-layout', 'repositories']);
    const [saved] = JSON.parse(read('manifest.json').toString()) as {
      Layers: string[];
      Config: string;
      RepoTags: string[];
    }[];
    expect(saved!.RepoTags).toEqual(['t/ok:2', 't/ok:1']);
    expect(saved!.Config).toBe(`blobs/sha256/${id.slice(7)}`);
    expect(read(saved!.Config)).toEqual(rawConfig);
    expect(saved!.Layers.map(read)).toEqual([await layer('a'), await layer('b')]);
    const { manifests } = JSON.parse(read('index.json').toString()) as {
      manifests: { digest: string; annotations: object }[];
    };
    expect(manifests.map(({ annotations }) => annotations)).toEqual(
      ['2', '1'].map((tag) => ({
        'io.containerd.image.name': `docker.io/t/ok:${tag}`,
        'org.opencontainers.image.ref.name': tag,
      })),
    );
    for (const name of names.filter((one) => /^blobs\/sha256\/./.test(one)))
      expect(name).toBe(`blobs/sha256/${sha256(read(name))}`);
    expect(JSON.parse(read('repositories').toString())).toEqual({
      't/ok': { 1: sha256(await layer('b')), 2: sha256(await layer('b')) },
    });
    expect(harness.events.at(-1)).toMatchObject({ action: 'save', id, name: id });
  });

  test('and loading again gives the same image', async () => {
    await load(await dockerArchive(['t/ok:1']));
    const { id } = harness.service.resolve('t/ok:1');
    const archive = await save('t/ok:1');
    await harness.service.remove('t/ok:1', { force: false, noPrune: false, usedBy: () => [] });
    expect(harness.service.list()).toEqual([]);
    expect(await load(archive)).toEqual(['Loaded image: t/ok:1\n']);
    expect(harness.service.resolve('t/ok:1').id).toBe(id);
    expect(await save('t/ok:1')).toEqual(archive);
  });

  test('a repository’s name means all its tags, an id none', async () => {
    await load(await dockerArchive(['t/ok:1', 't/ok:2', 't/other:1']));
    const { id } = harness.service.resolve('t/ok:1');
    const tags = async (name: string) =>
      (
        JSON.parse(
          unpacked(await save(name))
            .read('manifest.json')
            .toString(),
        ) as { RepoTags: string[] | null }[]
      )[0]!.RepoTags;
    expect(await tags('t/ok')).toEqual(['t/ok:1', 't/ok:2']);
    for (const name of [id, id.slice(7), id.slice(7, 20)]) expect(await tags(name)).toBeNull();
  });

  test.each([
    ['nosuch', 'notFound', 'No such image: nosuch'],
    ['nosuch:3', 'notFound', 'reference does not exist'],
    ['', 'invalid', 'invalid reference format'],
    ['BAD', 'invalid', 'invalid reference format: repository name (library/BAD) must be lowercase'],
  ])('the name %j is refused', (name, kind, message) => {
    expect(() => harness.service.save([name], {})).toThrow(expect.objectContaining({ kind, message }));
  });

  test('another platform than the image’s is refused', async () => {
    await load(await dockerArchive(['t/ok:1']));
    expect(() => harness.service.save(['t/ok:1'], { platform: parsePlatform('linux/arm64') })).toThrow(
      'no suitable export target found for platform linux/arm64',
    );
  });

  test('an image that is removed meanwhile keeps its layers until the end', async () => {
    await load(await dockerArchive(['t/ok:1']));
    const archive = harness.service.save(['t/ok:1'], {});
    const iterator = archive[Symbol.asyncIterator]();
    const parts = [(await iterator.next()).value as Buffer];
    await harness.service.remove('t/ok:1', { force: false, noPrune: false, usedBy: () => [] });
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
      parts.push(next.value as Buffer);
    expect(unpacked(Buffer.concat(parts)).names).toContain('repositories');
  });
});

describe('importing', () => {
  const options = { config: { Env: ['A=b'] }, fields: { docker_version: '1' }, comment: 'Imported from -' };

  test('makes an image with one layer, its name, and the changes', async () => {
    const tar = await layer('a');
    const image = await harness.service.import(streamOf(tar), {
      ...options,
      platform: parsePlatform('linux/arm/v6'),
      reference: commitReference('t/imported', '1'),
    });
    expect(image.repoTags).toEqual(['t/imported:1']);
    expect(JSON.parse(image.rawConfig.toString())).toMatchObject({
      architecture: 'arm',
      variant: 'v6',
      os: 'linux',
      comment: 'Imported from -',
      config: { Env: ['A=b'] },
      history: [{ comment: 'Imported from -' }],
      rootfs: { diff_ids: [digest(tar)] },
    });
    expect(harness.events.map(({ action, name }) => [action, name])).toEqual([
      ['tag', 't/imported:1'],
      ['import', image.id],
    ]);
    expect(readdirSync(harness.spoolDir)).toEqual([]);
  });

  test('what is no tar is refused, and leaves nothing', async () => {
    const garbage = Readable.from([Buffer.from('x'.repeat(2000))]);
    await expect(harness.service.import(garbage, { ...options, reference: null })).rejects.toThrow();
    expect(harness.service.list()).toEqual([]);
    expect(readdirSync(harness.spoolDir)).toEqual([]);
  });
});
