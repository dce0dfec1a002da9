/** Random images: layers of all kinds from a seeded generator, and the expected contents of a container. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Random, randomOf } from '../random.js';
import { type BuiltImage, digestOf, zstdCompress } from './image-builder.js';

/** By path without a leading slash: `d`, `l <target>`, or `f <size> <sha256>`. */
export type Tree = Map<string, string>;

export interface GeneratedImage {
  image: BuiltImage;
  tree: Tree;
  /** A summary of its contents, for messages. */
  about: string;
}

const DIALECTS = ['v7', 'ustar', 'gnu', 'oldgnu', 'posix'] as const;
const LAYER_TYPES = {
  docker: [
    'application/vnd.docker.image.rootfs.diff.tar.gzip',
    'application/vnd.docker.image.rootfs.diff.tar',
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    'application/octet-stream',
    '',
  ],
  oci: [
    'application/vnd.oci.image.layer.v1.tar',
    'application/vnd.oci.image.layer.v1.tar+gzip',
    'application/vnd.oci.image.layer.v1.tar+zstd',
    'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  ],
};
const CONFIG_TYPES = [
  'application/vnd.docker.container.image.v1+json',
  'application/vnd.oci.image.config.v1+json',
  'application/octet-stream',
  'application/json',
  'text/html',
  '',
];
const MANIFEST_TYPES = {
  docker: 'application/vnd.docker.distribution.manifest.v2+json',
  oci: 'application/vnd.oci.image.manifest.v1+json',
};
const MIB = 2 ** 20;

/** Numbers and choices from a seed, the same each time. */
class Chance {
  /** An integer with 0 ≤ n < limit. */
  readonly below: Random;

  constructor(seed: number) {
    this.below = randomOf(seed);
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  bytes(length: number): Buffer {
    const data = Buffer.alloc(length);
    if (this.below(3) === 0) return data.fill(`line ${this.below(1000)}\n`);
    for (let i = 0; i + 4 <= length; i += 4) data.writeUInt32LE(this.below(2 ** 32), i);
    return data;
  }
}

/** Makes the image of a seed. */
export function generateImage(seed: number): GeneratedImage {
  const chance = new Chance(seed);
  const tree: Tree = new Map();
  const kind = chance.of(['docker', 'oci'] as const);
  const count = chance.below(8) === 0 ? 20 : 1 + chance.below(5);
  const blobs = new Map<string, Buffer>();
  const put = (data: Buffer, mediaType: string) => {
    const digest = digestOf(data);
    blobs.set(digest, data);
    return { mediaType, digest, size: data.length };
  };
  const diffIds: string[] = [];
  const layers: ReturnType<typeof put>[] = [];
  const about: string[] = [];
  for (let i = 0; i < count; i++) {
    const dialect = chance.of(DIALECTS);
    const compression = chance.of(['gzip', 'gzip', 'zstd', 'none'] as const);
    const tar = makeLayer(chance, tree, dialect, count > 5);
    diffIds.push(digestOf(tar));
    const blob =
      compression === 'gzip' ? gzipSync(tar, { level: 1 }) : compression === 'zstd' ? zstdCompress(tar, ['-1']) : tar;
    layers.push(put(blob, chance.of(LAYER_TYPES[kind])));
    about.push(`${dialect}/${compression}/${tar.length}`);
  }
  const config = {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/nothing'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
  const rawConfig = Buffer.from(JSON.stringify(config));
  const body = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      ...(kind === 'oci' && chance.below(2) === 0 ? {} : { mediaType: MANIFEST_TYPES[kind] }),
      config: put(rawConfig, chance.of(CONFIG_TYPES)),
      layers,
    }),
  );
  const top = { mediaType: MANIFEST_TYPES[kind], body, digest: digestOf(body) };
  const image = {
    top,
    manifests: [],
    blobs,
    platform: { os: 'linux', architecture: 'amd64' },
    id: digestOf(rawConfig),
  };
  return { image, tree, about: `seed ${seed}, ${kind}: ${about.join(' ')}` };
}

/** One layer on top of the current tree: some files and directories, links, whiteouts. */
function makeLayer(chance: Chance, tree: Tree, dialect: (typeof DIALECTS)[number], small: boolean): Buffer {
  const root = mkdtempSync(join(tmpdir(), 'caisson-generated-'));
  try {
    // Whiteouts first: they apply to the layers below.
    for (let i = chance.below(3); i > 0; i--) whiteOut(chance, tree, root);
    const style = small ? 'few' : chance.of(['few', 'few', 'many', 'big', 'sparse', 'empty'] as const);
    const name = `d${chance.below(4)}`;
    if (style === 'empty') return tarOf(root, dialect, false, chance);
    directory(tree, root, name);
    if (style === 'few')
      for (let i = 0; i < 4; i++) file(tree, root, `${name}/f${chance.below(12)}`, chance.bytes(chance.below(70_000)));
    if (style === 'many')
      for (let i = 0; i < 150; i++) file(tree, root, `${name}/m${i}`, chance.bytes(chance.below(1500)));
    if (style === 'big') file(tree, root, `${name}/big`, chance.bytes(chance.below(24 * MIB)));
    if (style === 'sparse') sparse(chance, tree, root, `${name}/sparse`);
    links(chance, tree, root, name);
    return tarOf(root, dialect, style === 'sparse' && dialect !== 'v7' && dialect !== 'ustar', chance);
  } finally {
    rmSync(root, { recursive: true });
  }
}

function remove(tree: Tree, path: string): void {
  for (const name of [...tree.keys()]) if (name === path || name.startsWith(`${path}/`)) tree.delete(name);
}

function whiteOut(chance: Chance, tree: Tree, root: string): void {
  const directories = [...tree].filter(([, what]) => what === 'd').map(([name]) => name);
  if (directories.length === 0) return;
  const inside = chance.of(directories);
  mkdirSync(join(root, inside), { recursive: true });
  if (chance.below(4) === 0) {
    writeFileSync(join(root, inside, '.wh..wh..opq'), '');
    for (const name of [...tree.keys()]) if (name.startsWith(`${inside}/`)) tree.delete(name);
    return;
  }
  const names = [...tree.keys()].filter((name) => name.startsWith(`${inside}/`));
  if (names.length === 0) return;
  const gone = chance.of(names);
  writeFileSync(join(root, inside, `.wh.${gone.slice(inside.length + 1)}`), '');
  remove(tree, gone);
}

function directory(tree: Tree, root: string, name: string): void {
  mkdirSync(join(root, name), { recursive: true });
  tree.set(name, 'd');
}

const described = (data: Buffer): string => `f ${data.length} ${createHash('sha256').update(data).digest('hex')}`;

function file(tree: Tree, root: string, name: string, data: Buffer): void {
  rmSync(join(root, name), { force: true });
  writeFileSync(join(root, name), data);
  tree.set(name, described(data));
}

function sparse(chance: Chance, tree: Tree, root: string, name: string): void {
  const whole = Buffer.alloc(MIB + chance.below(7 * MIB));
  const path = join(root, name);
  writeFileSync(path, '');
  truncateSync(path, whole.length);
  const handle = openSync(path, 'r+');
  for (let i = chance.below(12); i >= 0; i--) {
    const piece = chance.bytes(1 + chance.below(9000));
    const at = chance.below(whole.length - piece.length);
    piece.copy(whole, at);
    writeSync(handle, piece, 0, piece.length, at);
  }
  closeSync(handle);
  tree.set(name, described(whole));
}

function links(chance: Chance, tree: Tree, root: string, name: string): void {
  const own = readdirSync(join(root, name)).filter((one) => tree.get(`${name}/${one}`)?.startsWith('f'));
  if (own.length > 0 && chance.below(2) === 0) {
    const target = chance.of(own);
    linkSync(join(root, name, target), join(root, name, 'hard'));
    tree.set(`${name}/hard`, tree.get(`${name}/${target}`)!);
  }
  if (chance.below(2) === 0) {
    symlinkSync('../elsewhere', join(root, name, 'soft'));
    tree.set(`${name}/soft`, 'l ../elsewhere');
  }
}

function tarOf(root: string, dialect: string, sparse: boolean, chance: Chance): Buffer {
  const sparseOptions = sparse
    ? ['--sparse', ...(dialect === 'posix' ? [`--sparse-version=${chance.of(['0.0', '0.1', '1.0'])}`] : [])]
    : [];
  const names = chance.below(2) === 0 ? ['.'] : readdirSync(root).sort();
  const list = names.length === 0 ? ['-T', '/dev/null'] : names;
  return execFileSync(
    'tar',
    [
      `--format=${dialect}`,
      // The same bytes each time.
      ...(dialect === 'posix' ? ['--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime'] : []),
      '--sort=name',
      '--mtime=@1000000000',
      '--numeric-owner',
      '--owner=0',
      '--group=0',
      ...sparseOptions,
      '-C',
      root,
      '-c',
      ...list,
    ],
    { maxBuffer: 2 ** 28 },
  );
}
