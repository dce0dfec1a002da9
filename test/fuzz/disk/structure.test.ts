/**
 * A structure fuzzer: good filesystems whose fields are made to lie in ways that no flipped bit would (shared
 * directories, overlapping extents, sizes, maps, journals). Whatever they claim, reading one takes little time and
 * memory, and any failure is a known error.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MemoryBlocks } from '../../../src/disk/index.js';
import { costOf, HostileExt4, MOST_LAG_MS, makeExt4, walk } from '../../support/hostile-ext4.js';
import { type Random, randomOf } from '../../support/random.js';
import { temporaryDirectory } from '../../unit/disk/support.js';

const DIRECTORIES = 40;
/** Number of images in this run; FUZZ_IMAGES sets more, FUZZ_SEED the first seed. */
const IMAGES = Number(process.env.FUZZ_IMAGES ?? 400);
const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);

let base: Buffer;
let directory: { path: string; remove: () => Promise<void> };
beforeAll(async () => {
  directory = await temporaryDirectory();
  base = await makeExt4(directory.path, DIRECTORIES);
});
afterAll(() => directory.remove());

/** Ways to lie; each changes one structure. */
const LIES: ((hostile: HostileExt4, random: Random) => void)[] = [
  function shareDirectory(hostile, random) {
    const [from, to] = [random(DIRECTORIES), random(DIRECTORIES)].map((i) => hostile.find(`d${i}`));
    const names = Array.from({ length: 1 + random(100) }, (_, i) => ({ name: `${i}`, ino: to!, type: 2 }));
    hostile.setDirectory(hostile.firstBlock(from!) % hostile.blocks, names);
  },
  function nameAnything(hostile, random) {
    const ino = hostile.find(`d${random(DIRECTORIES)}`);
    const names = Array.from({ length: 1 + random(100) }, (_, i) => ({
      name: `${i}`,
      ino: random(9000),
      type: random(9),
    }));
    hostile.setDirectory(hostile.firstBlock(ino) % hostile.blocks, names);
  },
  function overlap(hostile, random) {
    const ino = random(4) === 0 ? 8 : hostile.find(`d${random(DIRECTORIES)}`);
    const [count, stride] = [1 + random(340), random(64)];
    const length = 1 + random(4096);
    const start = 1 + random(4000);
    const runs = Array.from({ length: count }, (_, i) => ({
      logical: i * length,
      start: start + i * stride,
      count: length,
    }));
    hostile.setExtents(ino, runs, 7000 + random(100), random(2) === 0 ? 2 ** 40 : count * length * 4096);
  },
  function size(hostile, random) {
    const inode = hostile.inode(1 + random(300));
    inode.writeUInt32LE(random(2 ** 31), 4);
    inode.writeUInt32LE(random(3) === 0 ? random(2 ** 16) : 0, 108);
  },
  function otherMap(hostile, random) {
    const inode = hostile.inode(hostile.find(`d${random(DIRECTORIES)}`));
    inode.writeUInt32LE(random(2) === 0 ? 0 : 0x10000000, 32);
    for (let i = 0; i < 15; i++) inode.writeUInt32LE(random(3) === 0 ? 0 : random(9000), 40 + i * 4);
  },
  function otherType(hostile, random) {
    hostile.inode(1 + random(300)).writeUInt16LE(random(65536), 0);
  },
  function attributes(hostile, random) {
    hostile.inode(1 + random(300)).writeUInt32LE(random(9000), 104);
  },
  function superblock(hostile, random) {
    const at = [0, 4, 20, 24, 32, 40, 88, 92, 96, 224, 254, 336][random(12)]!;
    hostile.image.writeUInt32LE(random(3) === 0 ? random(2 ** 31) : random(70_000), 1024 + at);
  },
  function descriptor(hostile, random) {
    hostile.image.writeUInt32LE(random(9000), 4096 + 8 + 64 * random(2));
  },
  function journal(hostile, random) {
    const first = hostile.dirtyJournal(random(2) === 0 ? undefined : random(2 ** 31));
    let sequence = 1;
    for (let i = 1; i < 1024; i++) {
      const kind = [1, 1, 2, 5][random(4)]!;
      const bytes = hostile.journalBlock(first + i, kind, sequence);
      if (kind === 2) sequence++;
      else for (let at = 12; at + 4 <= 4096; at += 4) bytes.writeUInt32BE(random(2) === 0 ? 2 : random(2 ** 31), at);
      if (random(200) === 0) break;
    }
  },
];

test(`${IMAGES} filesystems, from seed ${FIRST_SEED} on`, async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + IMAGES; seed++) {
    const random = randomOf(seed);
    const hostile = new HostileExt4(base);
    const lies = Array.from({ length: 1 + random(4) }, () => LIES[random(LIES.length)]!);
    const told: string[] = [];
    for (const lie of lies) {
      try {
        lie(hostile, random);
        told.push(lie.name);
      } catch {
        // This lie does not find what an earlier one removed.
      }
    }
    const { cpuMs, lagMs, grownBytes } = await costOf(new MemoryBlocks(hostile.image), walk);
    const seen = `seed ${seed}: ${told.join(', ')}`;
    expect({ seen, inTime: cpuMs < 1000 ? true : cpuMs }).toEqual({ seen, inTime: true });
    expect({ seen, noLag: lagMs < MOST_LAG_MS ? true : lagMs }).toEqual({ seen, noLag: true });
    expect({ seen, small: grownBytes < 200 << 20 ? true : grownBytes }).toEqual({ seen, small: true });
  }
}, 600_000);
