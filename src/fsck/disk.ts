/** Checks one virtual disk: that it is there, is sound, stands on what it should, and holds a sound filesystem. */
import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { messageOf } from '../common/errors.js';
import { FileBlocks, readVmdkIdentity, vmdkDifference } from '../disk/index.js';
import { readRecord } from '../hostd/disks/disk-records.js';
import type { Check } from './check.js';
import type { ChainProblem } from './disks.js';

/** What a disk is, for findings about it. */
export interface DiskKind {
  /** Findings' codes are `<code>.disk`, `.missing`, `.parent`, `.changed` and `.filesystem`. */
  code: string;
  what: string;
  means: string;
  todo: string;
  /** Path of the disk it must stand on; null: on none; undefined: whichever it names. */
  parent?: string | null;
  /** Bytes that it must have. */
  capacity?: number;
}

/** @returns whether it is sound, except for what a running VM may be doing to it */
export async function checkDisk(check: Check, path: string, kind: DiskKind): Promise<boolean> {
  const where = relative(check.store.paths.stateDir, path);
  const { code, means, todo } = kind;
  const damage = (part: string, what: string, aside = false): void =>
    check.find({
      code: `${code}.${part}`,
      severity: 'damage',
      where,
      what,
      means,
      todo,
      ...(aside ? { repair: { kind: 'aside', path } as const } : {}),
    });
  if (!existsSync(path)) {
    damage('missing', `${kind.what} is missing`);
    return false;
  }
  const busy = check.inUse.has(path);
  if (!(await matchesRecord(path, (what) => damage('changed', what)))) return false;
  if (busy) {
    check.skip(where, 'a running virtual machine writes to it: only its header was looked at');
    return true;
  }
  const { problems, info } = await check.disks.vmdk(path);
  if (problems.length > 0 || info === null) {
    damage('disk', `${kind.what} is damaged: ${problems.join('; ')}`, true);
    return false;
  }
  if (kind.capacity !== undefined && info.capacity !== kind.capacity)
    damage('size', `${kind.what} has ${info.capacity} bytes, and is recorded with ${kind.capacity}`);
  const chain = await check.disks.chain(path);
  // What is wrong further down is said of the disk there.
  const wrong = chain.problems.find(({ child }) => child === path);
  if (wrong !== undefined) damage('parent', told(check, wrong));
  const below = chain.files[1] ?? null;
  if (wrong === undefined && kind.parent !== undefined && below !== kind.parent)
    damage('parent', `it stands on ${named(check, below)}, and should stand on ${named(check, kind.parent)}`);
  if (chain.problems.length > 0 || chain.files.slice(1).some((file) => check.inUse.has(file))) return false;
  if (check.options.quick === true) return true;
  const inside = await check.disks.filesystem(path, check.options.e2fsck !== false);
  if (inside.length > 0) damage('filesystem', `the filesystem on ${kind.what} is damaged: ${inside.join('; ')}`);
  return inside.length === 0;
}

/** The record that hostd keeps beside a disk that a VM may write to. */
async function matchesRecord(path: string, differs: (what: string) => void): Promise<boolean> {
  try {
    const record = await readRecord(path);
    if (record === null) return true;
    const file = await FileBlocks.open(path);
    try {
      const difference = vmdkDifference(record, (await readVmdkIdentity(file)).identity);
      if (difference === null) return true;
      differs(`the disk is not what was recorded of it: ${difference}`);
      return false;
    } finally {
      await file.close();
    }
  } catch (error) {
    differs(`the disk and what was recorded of it cannot be compared: ${messageOf(error)}`);
    return false;
  }
}

function named(check: Check, path: string | null): string {
  return path === null ? 'no other disk' : relative(check.store.paths.stateDir, path);
}

function told(check: Check, problem: ChainProblem): string {
  const parent = named(check, problem.parent);
  if (problem.kind === 'noParent') return `the disk that it stands on, ${parent}, is missing`;
  if (problem.kind === 'cycle') return `it stands on itself, through ${parent}`;
  if (problem.kind === 'damagedParent') return `the disk that it stands on, ${parent}, is damaged`;
  return `the disk that it stands on, ${parent}, was changed since: ${problem.why}`;
}
