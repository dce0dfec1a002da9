/**
 * A structure fuzzer, as `structure.test.ts` is for filesystems: good chains of VMDKs whose descriptors, parents,
 * headers, grain directories and tables are made to lie. Whatever they claim, opening and reading one takes little time
 * and memory, and any failure is a known error.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Ext4Filesystem, VmdkChain } from '../../../src/disk/index.js';
import { costOf, MOST_LAG_MS, walk } from '../../support/hostile-ext4.js';
import { BASE, HostileVmdks, makeVmdks, TOP, type VmdkFiles } from '../../support/hostile-vmdk.js';
import { type Random, randomOf } from '../../support/random.js';
import { temporaryDirectory } from '../../unit/disk/support.js';

/** Number of chains in this run; FUZZ_IMAGES sets more, FUZZ_SEED the first seed. */
const IMAGES = Number(process.env.FUZZ_IMAGES ?? 400);
const FIRST_SEED = Number(process.env.FUZZ_SEED ?? 1);
/** The most that may be read of the engine's own disks through the hostile one. */
const MAX_CONTENT = 8 << 20;

let base: VmdkFiles;
let directory: { path: string; remove: () => Promise<void> };
beforeAll(async () => {
  directory = await temporaryDirectory();
  base = await makeVmdks(directory.path);
});
afterAll(() => directory.remove());

const pick = <T>(random: Random, ...values: T[]): T => values[random(values.length)]!;

/** Ways to lie; each changes one structure of the upper disk. */
const LIES: ((hostile: HostileVmdks, random: Random) => void)[] = [
  function otherType(hostile, random) {
    const type = pick(
      random,
      'twoGbMaxExtentSparse',
      'monolithicFlat',
      'streamOptimized',
      'vmfs',
      'fullDevice',
      '',
      '"',
    );
    hostile.rewrite(hostile.top, (text) => text.replace('monolithicSparse', type));
  },
  function moreExtents(hostile, random) {
    const extent = pick(
      random,
      'RW 8 FLAT "/etc/shadow" 0',
      'RW 67108864 SPARSE "o.vmdk"',
      'RDONLY 8 ZERO',
      'RW -1 VMFS "x"',
    );
    hostile.rewrite(hostile.top, (text) =>
      text.replace('# Extent', `${`${extent}\n`.repeat(1 + random(100))}# Extent`),
    );
  },
  function otherParent(hostile, random) {
    const names = [
      'top.vmdk',
      '../top/top.vmdk',
      '../../x/x.vmdk',
      '/etc/passwd',
      '../other/other.vmdk',
      '',
      '.',
      'nbd:x',
      'a'.repeat(3000),
    ];
    hostile.rewrite(hostile.top, (text) => text.replace('../base/base.vmdk', pick(random, ...names)));
  },
  function otherIds(hostile, random) {
    const id = pick(random, 'ffffffff', '00000000', 'zzzz', '', '123456789', 'abcdef01');
    hostile.rewrite(hostile.top, (text) => text.replace(pick(random, /CID=\w+/, /parentCID=\w+/), `CID=${id}`));
  },
  function cycle(hostile) {
    // The parent's parent is its child.
    const { cid } = { cid: 'abcdef01' };
    hostile.rewrite(hostile.files.get(BASE)!, (text) =>
      text.replace('parentCID=ffffffff', `parentCID=${cid}\nparentFileNameHint="../${TOP}"`),
    );
  },
  function longChain(hostile, random) {
    const top = Buffer.from(hostile.top);
    for (let i = 0; i < 2 + random(400); i++) {
      const name = `c${i}/c${i}.vmdk`;
      const next = Buffer.from(top);
      hostile.files.set(name, next);
      hostile.rewrite(next, (text) =>
        text.replace(/parentCID=\w+/, 'parentCID=abcdef01').replace('../base/base.vmdk', `../c${i + 1}/c${i + 1}.vmdk`),
      );
    }
    hostile.rewrite(hostile.top, (text) =>
      text.replace(/parentCID=\w+/, 'parentCID=abcdef01').replace('../base/base.vmdk', '../c0/c0.vmdk'),
    );
  },
  function longDescriptor(hostile, random) {
    // A descriptor of a megabyte at the file's end, full of text that makes searching slow.
    const line = pick(random, ' ', '=', '"', 'CID=', 'CID= " ', '\n', '\t"x', 'createType = ');
    const text = `CID=${line.repeat((1 << 20) / line.length).slice(8)}${pick(random, '"x', '"x"y', 'x""')}`;
    const at = Math.ceil(hostile.top.length / 512);
    hostile.files.set(
      TOP,
      Buffer.concat([hostile.top, Buffer.alloc(at * 512 - hostile.top.length), Buffer.from(text), Buffer.alloc(512)]),
    );
    hostile.top.writeBigUInt64LE(BigInt(at), 28);
    hostile.top.writeBigUInt64LE(2048n, 36);
  },
  function capacity(hostile, random) {
    const sectors = pick(random, 0n, 1n, 128n, 131_071n, 131_072n, 1n << 32n, 1n << 33n, 1n << 43n, (1n << 64n) - 1n);
    hostile.top.writeBigUInt64LE(sectors, 12);
    if (random(2) === 0) hostile.claimed.set(TOP, pick(random, 2 ** 30, 2 ** 40, 2 ** 52));
  },
  function header(hostile, random) {
    const at = pick(random, 0, 4, 8, 20, 28, 36, 44, 48, 56, 64, 72);
    hostile.top.writeUInt32LE(pick(random, 0, 1, 2, 0x30003, 0x10000, 128, 2 ** 31, random(2 ** 31)), at);
  },
  function compressed(hostile) {
    hostile.top.writeUInt32LE(hostile.top.readUInt32LE(8) | 0x30000, 8);
    hostile.top.writeUInt16LE(1, 77);
  },
  function grainDirectory(hostile, random) {
    const entries = hostile.directory(hostile.top);
    for (let at = 0; at + 4 <= entries.length; at += 4)
      if (random(3) === 0)
        entries.writeUInt32LE(
          pick(random, 0, 1, 2 ** 32 - 1, random(300), random(2 ** 31), entries.readUInt32LE(0)),
          at,
        );
  },
  function grainTables(hostile, random) {
    const same = random(20_000);
    for (let table = 0; table < 2; table++) {
      const entries = hostile.table(hostile.top, table);
      const how = random(4);
      for (let at = 0; at + 4 <= entries.length; at += 4)
        entries.writeUInt32LE([same, random(2 ** 31), random(20_000), 1][how]!, at);
    }
  },
  function cut(hostile, random) {
    hostile.files.set(TOP, hostile.top.subarray(0, random(hostile.top.length)));
  },
];

/** Opens the chain, walks the filesystem, reads some content and looks up grains. */
async function look(hostile: HostileVmdks): Promise<number> {
  const chain = await VmdkChain.open(TOP, hostile.open);
  try {
    for await (const _run of chain.runs(0, Math.min(chain.size, 1 << 30)));
    const entries = await walk(chain);
    const filesystem = await Ext4Filesystem.open(chain);
    let left = MAX_CONTENT;
    for await (const { ino } of filesystem.readdir(filesystem.root)) {
      if ((await filesystem.statInode(ino)).type !== 'file') continue;
      for await (const part of filesystem.readFile(ino)) {
        left -= (part as Buffer).length;
        if (left < 0) return entries;
      }
    }
    return entries;
  } finally {
    await chain.close();
  }
}

test('the intact chain is read completely', async () => {
  const hostile = new HostileVmdks(base);
  expect(await look(hostile)).toBe(20);
});

test(`${IMAGES} chains, from seed ${FIRST_SEED} on`, async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + IMAGES; seed++) {
    const random = randomOf(seed);
    const hostile = new HostileVmdks(base);
    const told: string[] = [];
    for (let left = 1 + random(3); left > 0; left--) {
      const lie = LIES[random(LIES.length)]!;
      try {
        lie(hostile, random);
        told.push(lie.name);
      } catch {
        // This lie does not find what an earlier one removed.
      }
    }
    const { cpuMs, lagMs, grownBytes } = await costOf(await hostile.open(TOP), () => look(hostile));
    const seen = `seed ${seed}: ${told.join(', ')}`;
    expect({ seen, inTime: cpuMs < 1000 ? true : cpuMs }).toEqual({ seen, inTime: true });
    expect({ seen, noLag: lagMs < MOST_LAG_MS ? true : lagMs }).toEqual({ seen, noLag: true });
    expect({ seen, small: grownBytes < 200 << 20 ? true : grownBytes }).toEqual({ seen, small: true });
  }
}, 600_000);
