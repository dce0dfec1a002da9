/** Helpers of the disk tests: temporary directories, tars, and reference tools (`e2fsck`, `qemu-img`, `debugfs`). */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { type Header, pack } from 'tar-stream';
import { expect } from 'vitest';
import {
  applyLayer,
  Ext4Filesystem,
  type FileStat,
  type LayerResult,
  type RecipeFiles,
  type RecipeSize,
  type RecipeSource,
  tarFromRecipe,
  VmdkChain,
} from '../../../src/disk/index.js';

const run = promisify(execFile);

/** A fresh temporary directory; `remove` it at the end. */
export async function temporaryDirectory(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'caisson-disk-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** An entry for {@link tarOf}: tar-stream's header, and content. */
export type Entry = Partial<Header> & { name: string; content?: Buffer | string };

/** A tar of `entries`, made by a third-party writer. */
export async function tarOf(entries: Entry[]): Promise<Buffer> {
  const packer = pack();
  const chunks: Buffer[] = [];
  const done = (async () => {
    for await (const chunk of packer) chunks.push(chunk as Buffer);
  })();
  for (const { content, ...header } of entries) {
    await new Promise<void>((resolve, reject) => {
      const body = Buffer.from(content ?? '');
      const type = header.type ?? 'file';
      const full = { mtime: new Date(1_600_000_000_000), ...header, size: type === 'file' ? body.length : 0 };
      const callback = (error?: Error | null) => (error ? reject(error) : resolve());
      if (type === 'file') packer.entry(full, body, callback);
      else packer.entry(full, callback);
    });
  }
  packer.finalize();
  await done;
  return Buffer.concat(chunks);
}

/** A stream that gives `data` in chunks of `size` bytes. */
export function streamOf(data: Buffer, size = 65536): Readable {
  const chunks = function* () {
    for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
  };
  return Readable.from(chunks(), { objectMode: false });
}

/** Layers stacked in one directory: `0.vmdk`, `1.vmdk`, … */
export class Stack {
  readonly paths: string[] = [];
  /** @param prefix of the disks' names */
  constructor(
    readonly directory: string,
    readonly capacity?: number,
    private readonly prefix = '',
  ) {}

  get top(): string {
    return this.paths.at(-1) as string;
  }

  /** Applies a layer on top, and makes sure that its tar can be made again from it, bit for bit. */
  async add(tar: Buffer | Readable, options: { signal?: AbortSignal; outPath?: string } = {}): Promise<LayerResult> {
    const parent = this.paths.length === 0 ? null : await VmdkChain.open(this.top);
    const outPath = options.outPath ?? join(this.directory, `${this.prefix}${this.paths.length}.vmdk`);
    const recipe = { recipe: `${outPath}.recipe`, replaced: `${outPath}.replaced` };
    const hash = createHash('sha256');
    const stream = Buffer.isBuffer(tar) ? streamOf(tar) : tar;
    stream.on('data', (chunk: Buffer) => hash.update(chunk)).pause();
    try {
      const result = await applyLayer({
        parent,
        tar: stream,
        outPath,
        recipe,
        parentHint: parent ? basename(this.top) : null,
        capacity: this.capacity,
        seed: `layer ${this.paths.length}`,
        signal: options.signal,
      });
      if (options.outPath === undefined && !result.unchanged) this.paths.push(outPath);
      const again = await tarAgain(result.unchanged ? this.top : outPath, recipe, result.recipe!);
      expect(again).toEqual({ size: result.recipe!.tar, digest: hash.digest('hex') });
      return result;
    } finally {
      await parent?.close();
      await rm(recipe.recipe, { force: true });
      await rm(recipe.replaced, { force: true });
    }
  }

  /** Runs `body` with the filesystem of the top layer. */
  read<T>(body: (filesystem: Ext4Filesystem) => Promise<T>): Promise<T> {
    return withFilesystem(this.top, body);
  }
}

/** The size and digest of the tar that a layer's recipe makes. */
async function tarAgain(top: string, files: RecipeFiles, size: RecipeSize): Promise<{ size: number; digest: string }> {
  const source: RecipeSource = {
    recipe: async () => createReadStream(files.recipe),
    replaced:
      size.replaced === 0 ? null : async (start, end) => createReadStream(files.replaced, { start, end: end - 1 }),
  };
  return withFilesystem(top, async (filesystem) => {
    const hash = createHash('sha256');
    let length = 0;
    for await (const bytes of tarFromRecipe(source, filesystem)) {
      hash.update(bytes);
      length += bytes.length;
    }
    return { size: length, digest: hash.digest('hex') };
  });
}

/** Runs `body` with the filesystem on the chain at `path`. */
export async function withFilesystem<T>(path: string, body: (filesystem: Ext4Filesystem) => Promise<T>): Promise<T> {
  const chain = await VmdkChain.open(path);
  try {
    return await body(await Ext4Filesystem.open(chain));
  } finally {
    await chain.close();
  }
}

/** Writes the whole disk of the chain at `path` to a sparse raw file. */
export async function flatten(path: string, raw: string): Promise<void> {
  const chain = await VmdkChain.open(path);
  const file = await open(raw, 'w');
  try {
    await file.truncate(chain.size);
    for (let grain = await chain.nextGrain(0); grain !== null; grain = await chain.nextGrain(grain + 1)) {
      const length = Math.min(65536, chain.size - grain * 65536);
      await file.write(await chain.read(grain * 65536, length), 0, length, grain * 65536);
    }
  } finally {
    await file.close();
    await chain.close();
  }
}

/** Runs a program; gives its exit code and output. */
export async function program(name: string, ...args: string[]): Promise<{ code: number; output: string }> {
  try {
    const { stdout, stderr } = await run(name, args, { maxBuffer: 64 * 2 ** 20 });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const failed = error as { code?: number | string; stdout?: string; stderr?: string };
    if (typeof failed.code !== 'number') throw error;
    return { code: failed.code, output: `${failed.stdout}${failed.stderr}` };
  }
}

/** `e2fsck -fn` on the chain at `path`; gives its exit code and output. */
export async function fsck(path: string): Promise<{ code: number; output: string }> {
  const raw = `${path}.raw`;
  await flatten(path, raw);
  try {
    return await program('e2fsck', '-fn', raw);
  } finally {
    await rm(raw, { force: true });
  }
}

/** The output of a debugfs command on the chain at `path`. */
export async function debugfs(path: string, command: string): Promise<string> {
  const raw = `${path}.debugfs.raw`;
  await flatten(path, raw);
  try {
    return (await program('debugfs', '-R', command, raw)).output;
  } finally {
    await rm(raw, { force: true });
  }
}

/** All of a stream. */
export async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Content of the file at `path`. */
export async function contentOf(filesystem: Ext4Filesystem, path: string | Buffer): Promise<string> {
  const ino = await filesystem.resolve(path, { followLast: true });
  return (await readAll(filesystem.readFile(ino))).toString();
}

/** Everything known about a file, comparable with `toEqual`. Bytes as latin1 text. */
export interface Described {
  type: string;
  mode: number;
  uid: number;
  gid: number;
  mtime: bigint;
  nlink: number;
  device: string;
  content: string;
  xattrs: Record<string, string>;
}

const digest = (data: Buffer): string => `${data.length}:${createHash('sha1').update(data).digest('hex')}`;

/** Every file of the filesystem by path (latin1; the root is the empty path), and which paths are one inode. */
export async function describe(filesystem: Ext4Filesystem): Promise<{
  files: Map<string, Described>;
  links: Map<number, string[]>;
}> {
  const files = new Map<string, Described>();
  const links = new Map<number, string[]>();
  const pending: { path: string; ino: number }[] = [{ path: '', ino: filesystem.root }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { path, ino } = next;
    const stat: FileStat = await filesystem.statInode(ino);
    let content = '';
    if (stat.type === 'file') content = digest(await readAll(filesystem.readFile(ino)));
    else if (stat.type === 'symlink') content = (await filesystem.readlink(ino)).toString('latin1');
    const xattrs: Record<string, string> = {};
    for (const [name, value] of await filesystem.xattrs(ino)) xattrs[name] = value.toString('latin1');
    files.set(path, {
      type: stat.type,
      mode: stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      mtime: stat.mtime,
      nlink: stat.type === 'directory' ? 0 : stat.nlink,
      device: `${stat.major}:${stat.minor}`,
      content,
      xattrs,
    });
    if (stat.type !== 'directory') {
      links.set(ino, [...(links.get(ino) ?? []), path].sort());
      continue;
    }
    for await (const entry of filesystem.readdir(ino)) {
      if ((await filesystem.statInode(entry.ino)).type !== entry.type) throw new Error(`type of ${path}/${entry.name}`);
      pending.push({ path: `${path}/${entry.rawName.toString('latin1')}`, ino: entry.ino });
    }
  }
  return { files, links };
}

export { digest };
