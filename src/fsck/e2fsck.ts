/** A second opinion on a filesystem: e2fsprogs' `e2fsck -fn`, which only reads. */
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Ext4Verdict, VmdkChain } from '../disk/index.js';

const GRAIN = 65536;
const BLOCK = 4096;
/** e2fsck(8): errors were left; the program failed. */
const LEFT = 4;
const FAILED = 8;
const MOST_LINES = 20;

let installed: Promise<boolean> | undefined;

/** Whether the program is there. */
export function hasE2fsck(): Promise<boolean> {
  installed ??= new Promise((done) => {
    execFile('e2fsck', ['-V'], (error) => done((error as NodeJS.ErrnoException | null)?.code !== 'ENOENT'));
  });
  return installed;
}

/**
 * What it says about the filesystem on `disk`, which it gets as a sparse copy without the content of files; nothing if that is sound.
 * @param verdict on the same, which must be good
 */
export async function e2fsckProblems(disk: VmdkChain, verdict: Ext4Verdict): Promise<string[]> {
  if (!(await hasE2fsck())) return [];
  const directory = await mkdtemp(join(tmpdir(), 'caisson-fsck-'));
  try {
    const copy = join(directory, 'disk');
    await copyTo(disk, verdict, copy);
    // A filesystem that was not unmounted has things that any mount mends, and which only `-p` tells from damage.
    const { code, output } = await run('e2fsck', [verdict.dirty ? '-fp' : '-fn', copy]);
    return (code & (LEFT | FAILED)) === 0 ? [] : linesOf(output);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function copyTo(chain: VmdkChain, { disk, metadata }: Ext4Verdict, path: string): Promise<void> {
  const wanted = metadata === null ? null : grainsOf(metadata, chain.size);
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(chain.size);
    for (const grain of await grainsIn(chain, wanted)) {
      const at = grain * GRAIN;
      const length = Math.min(GRAIN, chain.size - at);
      await file.write(await (disk ?? chain).read(at, length), 0, length, at);
    }
    for (const block of disk?.changed ?? [])
      await file.write(await disk!.read(block * BLOCK, BLOCK), 0, BLOCK, block * BLOCK);
  } finally {
    await file.close();
  }
}

/** The grains to copy. A long chain is not searched for all that it has: most of that is content. */
async function grainsIn(chain: VmdkChain, wanted: Uint8Array | null): Promise<number[]> {
  const grains: number[] = [];
  if (wanted === null)
    for (let grain = await chain.nextGrain(0); grain !== null; grain = await chain.nextGrain(grain + 1))
      grains.push(grain);
  else for (const [grain, is] of wanted.entries()) if (is === 1 && (await chain.hasGrain(grain))) grains.push(grain);
  return grains;
}

/** By grain, whether a part of it is in one of the runs of blocks. */
function grainsOf(runs: { start: number; count: number }[], size: number): Uint8Array {
  const grains = new Uint8Array(Math.ceil(size / GRAIN));
  for (const { start, count } of runs)
    grains.fill(1, Math.floor((start * BLOCK) / GRAIN), Math.ceil(((start + count) * BLOCK) / GRAIN));
  return grains;
}

function run(program: string, args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((done) => {
    execFile(program, args, { maxBuffer: 1 << 26, env: { ...process.env, LC_ALL: 'C' } }, (error, stdout, stderr) => {
      const code = (error as { code?: unknown } | null)?.code;
      done({ code: error === null ? 0 : typeof code === 'number' ? code : FAILED, output: `${stdout}${stderr}` });
    });
  });
}

/** The lines that say what is wrong: without its passes, its questions' answers and its summary. */
function linesOf(output: string): string[] {
  const lines = output
    .split('\n')
    .map((line) =>
      line
        .replace(
          /\s*(Fix|Clear|Abort|Ignore error|Recreate|Relocate|Truncate|Salvage|Connect to \/lost\+found|Create|Split|Allocate|Expand|Optimize|Clone multiply-claimed blocks|Delete file)\? no$/,
          '',
        )
        .trim(),
    )
    .filter(
      (line) => line !== '' && !/^(e2fsck |Pass \d|\S+: \d+\/\d+ files|\S+: \*+ WARNING|.*IGNORED\.$)/.test(line),
    );
  const shown = lines.slice(0, MOST_LINES).map((line) => `e2fsck: ${line}`);
  return lines.length > shown.length ? [...shown, `and ${lines.length - shown.length} more lines of e2fsck`] : shown;
}
