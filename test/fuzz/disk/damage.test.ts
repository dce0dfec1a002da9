/** Disks with random damage: `vic-machine fsck` says what `e2fsck -fn` and `qemu-img check` say. */
import { copyFile, type FileHandle, open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkExt4, checkVmdk, FileBlocks } from '../../../src/disk/index.js';
import { type Random, randomOf } from '../../support/random.js';
import { flatten, program, Stack, tarOf, temporaryDirectory } from '../../unit/disk/support.js';

const BLOCK = 4096;
const CASES = Number(process.env.CAISSON_FUZZ_RUNS ?? 120);
const SEED = Number(process.env.CAISSON_FUZZ_SEED ?? 14);

let directory: string;
let remove: () => Promise<void>;
let stack: Stack;
beforeAll(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  stack = new Stack(directory, 64 * 2 ** 20);
  const pax = { 'SCHILY.xattr.user.note': 'x'.repeat(40), 'SCHILY.xattr.user.long': 'y'.repeat(600) };
  await stack.add(
    await tarOf([
      { name: 'many/', type: 'directory', mode: 0o755 },
      ...Array.from({ length: 900 }, (_, i) => ({ name: `many/a-file-with-some-name-${i}`, content: `${i}` })),
      ...Array.from({ length: 12 }, (_, i) => ({ name: `d${i}/e${i}/f`, content: 'f'.repeat(i * 3000) })),
      { name: 'short', type: 'symlink', linkname: 'd1/e1' },
      { name: 'long', type: 'symlink', linkname: `d2/${'t'.repeat(100)}` },
      { name: 'hard', type: 'link', linkname: 'd3/e3/f' },
      { name: 'dev', type: 'character-device', devmajor: 1, devminor: 3 },
      { name: 'noted', content: 'noted', pax },
      { name: 'large', content: Buffer.alloc(3_000_000, 7) },
    ]),
  );
  await stack.add(
    await tarOf([
      { name: 'large', content: Buffer.alloc(300_000, 8) },
      { name: 'many/new', content: 'new' },
    ]),
  );
});
afterAll(() => remove());

/** A change of a file: bytes put at an offset. */
interface Damage {
  at: number;
  bytes: Buffer;
}

/** One to eight bytes somewhere, of which a part has the values that programs care about. */
function damageAt(random: Random, at: number): Damage {
  const length = [1, 2, 4, 8][random(4)] as number;
  const bytes = Buffer.from(Array.from({ length }, () => random(256)));
  if (random(3) === 0) bytes.fill([0, 0xff, 1][random(3)] as number);
  return { at: at - (at % length), bytes };
}

/** Applies the damage, looks, and takes it back. */
async function damaged<T>(file: FileHandle, { at, bytes }: Damage, look: () => Promise<T>): Promise<T | null> {
  const before = Buffer.alloc(bytes.length);
  await file.read(before, 0, before.length, at);
  if (before.equals(bytes)) return null;
  await file.write(bytes, 0, bytes.length, at);
  try {
    return await look();
  } finally {
    await file.write(before, 0, before.length, at);
  }
}

async function ext4Problems(path: string): Promise<string[]> {
  const disk = await FileBlocks.open(path);
  try {
    return (await checkExt4(disk)).problems;
  } finally {
    await disk.close();
  }
}

/** What e2fsck complains of, without its passes and its summary. */
function wordsOf(output: string): string {
  const lines = output.split('\n').filter((line) => line !== '' && !/^(Pass \d|e2fsck 1|\S+: )/.test(line));
  return `e2fsck: ${lines.slice(0, 3).join('; ')}`;
}

describe('an ext4 filesystem', () => {
  test('changed at random places of its metadata is judged as e2fsck judges it', async () => {
    const raw = join(directory, 'disk.raw');
    await flatten(stack.top, raw);
    const good = await FileBlocks.open(raw);
    const verdict = await checkExt4(good);
    const places: number[] = [];
    for (const { start, count } of verdict.metadata ?? [])
      for (let block = start; block < start + count; block++) {
        const data = await good.read(block * BLOCK, BLOCK);
        // A filesystem is mostly empty: what has nothing in it is damaged seldom.
        for (let at = 0; at < BLOCK; at += 64)
          if (data.subarray(at, at + 64).some((byte) => byte !== 0)) places.push(block * BLOCK + at);
      }
    await good.close();
    expect(verdict.problems).toEqual([]);
    expect((await program('e2fsck', '-fn', raw)).code).toBe(0);
    const random = randomOf(SEED);
    const file = await open(raw, 'r+');
    const judged = { both: 0, neither: 0 };
    const differ: string[] = [];
    try {
      for (let i = 0; i < CASES; i++) {
        const damage = damageAt(random, (places[random(places.length)] as number) + random(64));
        const look = async () => ({ own: await ext4Problems(raw), other: await program('e2fsck', '-fn', raw) });
        const result = await damaged(file, damage, look);
        if (result === null) continue;
        const { own, other } = result;
        if (own.length > 0 === other.code >= 4) judged[own.length > 0 ? 'both' : 'neither']++;
        else
          differ.push(
            `case ${i}: block ${Math.floor(damage.at / BLOCK)}+${damage.at % BLOCK} = ${damage.bytes.toString('hex')}: ${own.join('; ') || wordsOf(other.output)}`,
          );
      }
    } finally {
      await file.close();
    }
    expect(differ).toEqual([]);
    expect(judged.both).toBeGreaterThan(CASES / 4);
  });
});

describe('a VMDK', () => {
  test('changed or cut at random places is refused whenever qemu-img refuses it', async () => {
    const path = join(directory, 'damaged.vmdk');
    await copyFile(stack.top, path);
    const { size } = await FileBlocks.open(path).then(async (file) => {
      await file.close();
      return file;
    });
    const random = randomOf(SEED + 1);
    const verdictOf = async (): Promise<string[]> => {
      const file = await FileBlocks.open(path);
      const { problems, info } = await checkVmdk(file).finally(() => file.close());
      // That there is no such parent, a check of the file alone does not see.
      return info?.parentHint === '0.vmdk' ? problems : [...problems, 'another parent'];
    };
    const missed: string[] = [];
    let found = 0;
    for (let i = 0; i < CASES; i++) {
      const cut = random(10) === 0 ? random(size) : null;
      const at = [random(512), 512 + random(700), random(21 * 512), 21 * 512 + random(30_000)][random(4)] as number;
      const look = async () => ({
        own: await verdictOf(),
        other: await program('qemu-img', 'check', '-f', 'vmdk', path),
      });
      let result: Awaited<ReturnType<typeof look>> | null;
      if (cut !== null) {
        await truncate(path, cut);
        result = await look();
        await copyFile(stack.top, path);
      } else {
        const file = await open(path, 'r+');
        result = await damaged(file, damageAt(random, at), look).finally(() => file.close());
      }
      if (result === null) continue;
      if (result.own.length > 0) found++;
      else if (result.other.code !== 0) missed.push(`case ${i}: at ${at}, cut ${cut}: ${result.other.output}`);
    }
    expect(missed).toEqual([]);
    expect(found).toBeGreaterThan(CASES / 8);
  });
});
