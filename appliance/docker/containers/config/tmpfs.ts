/** `--tmpfs path:options`: turns the options into the flags and data of mount(2). */
import { posix } from 'node:path';
import type { TmpfsSpec } from '../../../../port-layer/index.js';
import { invalid } from '../../../../src/common/errors.js';
import { FLAGS, PROPAGATION } from '../../values/mount-flags.js';

/** Options of the filesystem itself; each has a value. */
const DATA = new Set(['size', 'mode', 'uid', 'gid', 'nr_inodes', 'nr_blocks', 'mpol']);
const NOEXEC_NOSUID_NODEV = 8 | 2 | 4;
const MAX_MOUNTS = 100;
const MAX_OPTIONS = 400;

/**
 * Filesystems in memory, outer ones before those mounted inside them.
 * @param given paths and their options, as in HostConfig.Tmpfs
 * @throws invalid in Docker's words
 */
export function tmpfsMounts(given: Record<string, string>): TmpfsSpec[] {
  const mounts = Object.entries(given).map(([path, options]) => tmpfs(path, options));
  if (mounts.length > MAX_MOUNTS) throw invalid(`too many tmpfs mounts: ${mounts.length}`);
  const depth = ({ path }: TmpfsSpec): number => path.split('/').length;
  return mounts.sort((a, b) => depth(a) - depth(b) || (a.path < b.path ? -1 : 1));
}

function tmpfs(given: string, words: string): TmpfsSpec {
  if (!given.startsWith('/')) throw invalid(`invalid mount path: '${given}' mount path must be absolute`);
  const path = posix.normalize(given).replace(/(?<=.)\/$/, '');
  if (path === '/') throw invalid("invalid specification: destination can't be '/'");
  let flags = NOEXEC_NOSUID_NODEV;
  let propagation = 0;
  const data = new Map<string, string>();
  for (const word of words.split(',').filter((one) => one !== '' && one !== 'defaults')) {
    const known = Object.hasOwn(FLAGS, word) ? FLAGS[word] : undefined;
    const [key = '', ...value] = word.split('=');
    if (known !== undefined) flags = known.clear === true ? flags & ~known.flag : flags | known.flag;
    else if (Object.hasOwn(PROPAGATION, word)) propagation = PROPAGATION[word]!;
    else if (value.length > 0 && DATA.has(key)) data.set(key, value.join('='));
    else throw invalid(`invalid tmpfs option "${word}"`);
  }
  const options = [...data].map(([key, value]) => `${key}=${value}`).join(',');
  if (options.length > MAX_OPTIONS) throw invalid(`invalid tmpfs option "${options.slice(0, 40)}…": too long`);
  return { path, flags: flags | propagation, options };
}
