/**
 * Throughput of `src/disk` on synthetic layers: `node dist/test/bench/disk.js`. Prints MB/s (of tar), files/s and the
 * process's peak memory.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  applyLayer,
  createChild,
  Ext4Filesystem,
  type RecipeSize,
  tarFromRecipe,
  VmdkChain,
} from '../../src/disk/index.js';

/** A tar header block. */
function header(name: string, size: number, type: '0' | '5'): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  block.write(name, 0, 'latin1');
  octal(type === '5' ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(1_600_000_000, 136, 12);
  block.write(type, 156, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  block.fill(32, 148, 156);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}

/** A layer generated while it is read, so that it takes no memory. */
function layer(files: Iterable<[string, number]>): { stream: Readable; bytes: () => number } {
  const noise = randomBytes(1 << 20);
  let bytes = 0;
  const blocks = function* () {
    let pending: Buffer[] = [];
    let held = 0;
    for (const [name, size] of files) {
      const parts = [header(name, Math.max(0, size), size < 0 ? '5' : '0')];
      for (let left = Math.ceil(Math.max(0, size) / 512) * 512; left > 0; left -= noise.length) {
        parts.push(noise.subarray(0, Math.min(left, noise.length)));
      }
      for (const part of parts) {
        pending.push(part);
        held += part.length;
        bytes += part.length;
      }
      if (held >= 65536) {
        yield Buffer.concat(pending);
        pending = [];
        held = 0;
      }
    }
    yield Buffer.concat([...pending, Buffer.alloc(1024)]);
  };
  return { stream: Readable.from(blocks(), { objectMode: false }), bytes: () => bytes };
}

/** Sizes as in a distribution's image: many small files and a few large ones. */
function* mixed(total: number): Generator<[string, number]> {
  const sizes = [700, 3000, 12000, 300, 45000, 8000, 150000, 2000, 600000, 5_000_000];
  for (let i = 0, sum = 0; sum < total; i++) {
    if (i % 50 === 0) yield [`usr/dir${i / 50}`, -1];
    const size = sizes[i % sizes.length] as number;
    sum += size;
    yield [`usr/dir${Math.floor(i / 50)}/file${i}`, size];
  }
}

function* small(count: number, directory: (i: number) => string): Generator<[string, number]> {
  for (let i = 0; i < count; i++) yield [`${directory(i)}/some-file-name-${i}`, 200];
}

async function measure(
  name: string,
  directory: string,
  files: () => Iterable<[string, number]>,
  withRecipe = true,
): Promise<void> {
  const outPath = join(directory, `${name.replaceAll(/[^a-z0-9]/gi, '-')}.vmdk`);
  const source = layer(files());
  const cpu = process.cpuUsage();
  const start = performance.now();
  const recipe = { recipe: `${outPath}.recipe`, replaced: `${outPath}.replaced` };
  const result = await applyLayer({
    ...{ parent: null, tar: source.stream, outPath, parentHint: null, seed: name },
    ...(withRecipe ? { recipe } : {}),
  });
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const cpuSeconds = (used.user + used.system) / 1e6;
  const perSecond = (value: number) => Math.round(value / seconds);
  console.log(
    `${name}: ${seconds.toFixed(2)} s (${cpuSeconds.toFixed(2)} s CPU), ${perSecond(source.bytes() / 1e6)} MB/s, ` +
      `${perSecond(result.entries)} entries/s, disk ${((await stat(outPath)).blocks / 2048).toFixed(1)} MiB`,
  );
  if (result.recipe !== null) await measureTar(outPath, recipe.recipe, result.recipe, result.entries);
}

/** The layer's tar, made again. */
async function measureTar(disk: string, recipe: string, size: RecipeSize, entries: number): Promise<void> {
  const start = performance.now();
  const chain = await VmdkChain.open(disk);
  let bytes = 0;
  const source = { recipe: async () => createReadStream(recipe), replaced: null };
  for await (const part of tarFromRecipe(source, await Ext4Filesystem.open(chain))) bytes += part.length;
  await chain.close();
  const seconds = (performance.now() - start) / 1000;
  const each = (size.recipe / entries).toFixed(1);
  console.log(
    `  its tar again: ${seconds.toFixed(2)} s, ${Math.round(bytes / 1e6 / seconds)} MB/s; recipe: ${each} bytes per entry`,
  );
}

async function measureReading(name: string, path: string): Promise<void> {
  const start = performance.now();
  const chain = await VmdkChain.open(path);
  const filesystem = await Ext4Filesystem.open(chain);
  let bytes = 0;
  let files = 0;
  const pending = [filesystem.root];
  for (let ino = pending.pop(); ino !== undefined; ino = pending.pop()) {
    for await (const entry of filesystem.readdir(ino)) {
      files++;
      await filesystem.statInode(entry.ino);
      if (entry.type === 'directory') pending.push(entry.ino);
      else for await (const data of filesystem.readFile(entry.ino)) bytes += (data as Buffer).length;
    }
  }
  await chain.close();
  const seconds = (performance.now() - start) / 1000;
  console.log(`${name}: ${seconds.toFixed(2)} s, ${Math.round(bytes / 1e6 / seconds)} MB/s, ${files} files`);
}

const directory = await mkdtemp(join(tmpdir(), 'caisson-bench-disk-'));
try {
  await measure('warm-up', directory, () => mixed(20e6));
  await measure('100 MB of mixed files', directory, () => mixed(100e6));
  await measure('1 GB of mixed files', directory, () => mixed(1e9));
  await measure('100 000 small files, 100 directories', directory, () => small(100_000, (i) => `d${i % 100}`));
  await measure('100 000 small files, no recipe', directory, () => small(100_000, (i) => `d${i % 100}`), false);
  await measure('100 MB of mixed files, no recipe', directory, () => mixed(100e6), false);
  await measure('100 000 small files, one directory', directory, () => small(100_000, () => 'd'));
  await measureReading('reading 100 MB of mixed files', join(directory, '100-MB-of-mixed-files.vmdk'));
  const children = 50;
  const start = performance.now();
  for (let i = 0; i < children; i++) {
    await createChild(join(directory, `child${i}.vmdk`), join(directory, 'warm-up.vmdk'));
  }
  console.log(`createChild: ${((performance.now() - start) / children).toFixed(2)} ms`);
  console.log(`peak memory of the process: ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
} finally {
  await rm(directory, { recursive: true, force: true });
}
