/** A second opinion on a filesystem: e2fsprogs' `e2fsck -fn`, which only reads. */
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmdkChain } from '../disk/index.js';

const GRAIN = 65536;
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

/** What it says about the filesystem on `disk`, which it gets as a sparse copy; nothing if that is sound. */
export async function e2fsckProblems(disk: VmdkChain): Promise<string[]> {
  if (!(await hasE2fsck())) return [];
  const directory = await mkdtemp(join(tmpdir(), 'caisson-fsck-'));
  try {
    const copy = join(directory, 'disk');
    await copyTo(disk, copy);
    const { code, output } = await run('e2fsck', ['-fn', copy]);
    if ((code & (LEFT | FAILED)) === 0) return [];
    return linesOf(output);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function copyTo(disk: VmdkChain, path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(disk.size);
    for (let grain = await disk.nextGrain(0); grain !== null; grain = await disk.nextGrain(grain + 1)) {
      const at = grain * GRAIN;
      const length = Math.min(GRAIN, disk.size - at);
      await file.write(await disk.read(at, length), 0, length, at);
    }
  } finally {
    await file.close();
  }
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
