/** Random layers on random layers, compared with the operating system's own files. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  describe as describeFiles,
  type Entry,
  fsck,
  program,
  Stack,
  streamOf,
  tarOf,
  temporaryDirectory,
} from '../../unit/disk/support.js';
import { Oracle, type Step } from './oracle.js';

let directory: string;
let remove: () => Promise<void>;
beforeAll(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterAll(() => remove());

const utf8 = (text: string): string => Buffer.from(text).toString('latin1');
const LONG = 'n'.repeat(255);
const component = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'e') },
  { weight: 1, arbitrary: fc.constantFrom(utf8('ünï'), utf8('日本'), LONG, 'with space', 'x\ny') },
);
const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const name = fc.oneof(
  { weight: 20, arbitrary: path },
  { weight: 3, arbitrary: path.map((whole) => whole.replace(/([^/]*)$/, '.wh.$1').slice(0, 1000)) },
  { weight: 2, arbitrary: path.map((whole) => whole.replace(/([^/]*)$/, '.wh..wh..opq')) },
  { weight: 1, arbitrary: path.map((whole) => `./${whole}`) },
  { weight: 1, arbitrary: fc.constant('./') },
  { weight: 1, arbitrary: fc.constant(Array.from({ length: 100 }, (_, i) => `l${i % 10}`).join('/')) },
);
const content = fc
  .tuple(fc.constantFrom(0, 1, 100, 4095, 4096, 4097, 65536, 70000, 200000), fc.nat(255), fc.nat(3))
  .map(([size, byte, holes]) => {
    const data = Buffer.alloc(size, byte);
    for (let hole = 0; hole < holes; hole++) data.subarray(hole * 65536 + 1, (hole + 1) * 65536).fill(0);
    return data;
  });
const target = fc.oneof(
  path,
  path.map((whole) => `/${whole}`),
  path.map((whole) => `../${whole}`),
  fc.constantFrom('..', '/', '../../../..', `long/${'t'.repeat(300)}`, 't'.repeat(59), 't'.repeat(60)),
);
const step: fc.Arbitrary<Step> = fc.record({
  name,
  type: fc.oneof(
    { weight: 6, arbitrary: fc.constant('file' as const) },
    { weight: 4, arbitrary: fc.constant('directory' as const) },
    { weight: 2, arbitrary: fc.constant('link' as const) },
    { weight: 2, arbitrary: fc.constant('symlink' as const) },
    { weight: 1, arbitrary: fc.constantFrom('fifo' as const, 'char' as const) },
  ),
  target,
  content,
  // Not 0: tar-stream takes that for a missing mode.
  mode: fc.oneof(fc.constantFrom(0o755, 0o644, 0o4755, 0o1777, 0o2770), fc.integer({ min: 1, max: 0o7777 })),
  uid: fc.constantFrom(0, 1000, 65536, 100000),
  gid: fc.constantFrom(0, 50, 70000),
  mtime: fc.bigInt(-1_000_000_000_000_000_000n, 4_000_000_000_000_000_000n),
  xattrs: fc.oneof(
    { weight: 8, arbitrary: fc.constant({}) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Record<string, string>>(
        { 'user.small': 'v' },
        { 'user.large': 'v'.repeat(500), 'user.small': 'w', 'trusted.t': '' },
        { 'security.capability': '\u0001\u0000\u0000\u0002\u0000\u0020'.padEnd(20, '\0') },
      ),
    },
  ),
});
const layers = fc.array(fc.array(step, { maxLength: 60 }), { minLength: 1, maxLength: 4 });

function seconds(nanoseconds: bigint): string {
  const sign = nanoseconds < 0n ? '-' : '';
  const absolute = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  return `${sign}${absolute / 1_000_000_000n}.${(absolute % 1_000_000_000n).toString().padStart(9, '0')}`;
}

const text = (raw: string): string => Buffer.from(raw, 'latin1').toString();

function entryOf(one: Step): Entry {
  const plain = one.name.split('/').at(-1)?.startsWith('.wh.') === true;
  const type = plain ? 'file' : one.type === 'char' ? 'character-device' : one.type;
  const xattrs = Object.entries(one.xattrs).map(([key, value]) => [`SCHILY.xattr.${key}`, value]);
  return {
    name: text(one.name),
    type,
    linkname: type === 'link' || type === 'symlink' ? text(one.target) : undefined,
    content: type === 'file' && !plain ? one.content : '',
    mode: one.mode,
    uid: one.uid,
    gid: one.gid,
    devmajor: 1,
    devminor: 3,
    pax: { mtime: seconds(one.mtime), ...Object.fromEntries(xattrs) },
  };
}

const sorted = (links: Map<number, string[]>): string[] => [...links.values()].map((paths) => paths.join('|')).sort();

async function check(steps: Step[][]): Promise<void> {
  const place = await mkdtemp(join(directory, 'case-'));
  const root = join(place, 'root');
  await mkdir(root);
  const oracle = new Oracle(root);
  const stack = new Stack(place, 128 * 2 ** 20);
  try {
    for (const [i, layer] of steps.entries()) {
      oracle.nextLayer();
      const accepted = layer.filter((one) => oracle.apply(one));
      const tar = await tarOf(accepted.map(entryOf));
      // A second copy in odd chunks, discarded later: the bytes must not depend on how they arrive.
      const again = join(place, 'again.vmdk');
      const first = await stack.add(streamOf(tar, 1 + ((tar.length * 7919) % 5000)), { outPath: again });
      const second = await stack.add(tar);
      expect(first.unchanged).toBe(second.unchanged);
      // A layer that changes nothing has no disk of its own.
      if (!second.unchanged) {
        const [one, two] = await Promise.all([readFile(again), readFile(stack.top)]);
        // The descriptor (sectors 1 … 20) names its own file.
        expect(one.subarray(21 * 512).equals(two.subarray(21 * 512))).toBe(true);
        await rm(again);
      }
      expect(await fsck(stack.top)).toMatchObject({ code: 0 });
      if (i === steps.length - 1) expect(await program('qemu-img', 'check', stack.top)).toMatchObject({ code: 0 });
      const [ours, theirs] = [await stack.read(describeFiles), oracle.describe()];
      expect(new Map([...ours.files].sort())).toEqual(new Map([...theirs.files].sort()));
      expect(sorted(ours.links)).toEqual(sorted(theirs.links));
    }
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

/** For an overnight run: `CAISSON_FUZZ_SECONDS=3600`. */
const SECONDS = Number(process.env.CAISSON_FUZZ_SECONDS ?? 40);

test(
  'random layers give the same result as on real files',
  async () => {
    let last = Promise.resolve();
    const property = fc.asyncProperty(layers, (steps) => {
      last = check(steps);
      return last;
    });
    await fc.assert(property, {
      numRuns: 1_000_000,
      interruptAfterTimeLimit: SECONDS * 1000,
      markInterruptAsFailure: false,
      ...(process.env.CAISSON_FUZZ_SEED ? { seed: Number(process.env.CAISSON_FUZZ_SEED) } : {}),
    });
    // The interrupted one continues anyway.
    await last;
  },
  (SECONDS + 60) * 1000,
);
