/** Third pass: directories, their indexes, and whether every inode has as many names as it counts. */
import { messageOf } from '../../common/errors.js';
import * as c from '../ext4/constants.js';
import { parseDirectoryBlock } from '../ext4/directory.js';
import { directoryHash } from '../ext4/directory-hash.js';
import { checkIndex, type LeafRange } from './ext4-index.js';
import type { Ext4State, KnownInode } from './ext4-state.js';

export async function checkDirectories(state: Ext4State): Promise<void> {
  const { problems, inodes } = state;
  /** By directory, the one that has its name, and the one that it calls its parent. */
  const parents = new Map<number, { above: number | null; says: number }>();
  for (const [ino, inode] of inodes) {
    if (inode.type !== c.FT_DIR || inode.blocks === undefined) continue;
    try {
      await checkDirectory(state, ino, inode, parents);
    } catch (error) {
      problems.add(`directory ${ino}: ${messageOf(error)}`);
    }
  }
  checkTree(state, parents);
  for (const [ino, { links, found, type }] of inodes) {
    if (ino < c.FIRST_INO && ino !== c.ROOT_INO) continue;
    if (state.orphans.has(ino)) continue;
    if (found === 0) problems.add(`inode ${ino} has no name`);
    // A directory with very many directories in it counts 1.
    else if (links !== found && !(type === c.FT_DIR && links === 1 && found > c.MAX_LINKS))
      problems.add(`inode ${ino} counts ${links} links, and has ${found}`);
  }
}

async function checkDirectory(
  state: Ext4State,
  ino: number,
  { blocks = [], indexed = false }: KnownInode,
  parents: Map<number, { above: number | null; says: number }>,
): Promise<void> {
  for (const block of blocks) state.metadata.push({ start: block, count: 1 });
  if (blocks.length === 0) {
    state.problems.add(`directory ${ino} has no content`);
    return;
  }
  const ranges = indexed ? await checkIndex(state, ino, blocks) : null;
  const names = new Set<string>();
  let place = 0;
  for (const [index, block] of blocks.entries()) {
    const range = ranges?.get(index);
    // Nodes of the index look empty.
    if (ranges !== null && index > 0 && range === undefined) continue;
    parseDirectoryBlock(Buffer.from(await state.block(block)), (name, entry, type) => {
      if (place < 2 && index === 0) {
        dot(state, ino, { place: place++, name, entry }, parents);
        return;
      }
      if (names.has(name)) state.problems.add(`directory ${ino} has a name twice`);
      names.add(name);
      if (range !== undefined) inRange(state, ino, name, range);
      named(state, ino, { name, entry, type }, parents);
    });
  }
  if (place < 2) state.problems.add(`directory ${ino} has no '.' or '..'`);
}

function dot(
  state: Ext4State,
  ino: number,
  { place, name, entry }: { place: number; name: string; entry: number },
  parents: Map<number, { above: number | null; says: number }>,
): void {
  const known = state.inodes.get(entry);
  if (name !== (place === 0 ? '.' : '..') || (place === 0 && entry !== ino) || known === undefined) {
    state.problems.add(`directory ${ino} has no '.' or '..'`);
    return;
  }
  known.found++;
  if (place === 1) parents.set(ino, { above: parents.get(ino)?.above ?? null, says: entry });
}

function inRange(state: Ext4State, ino: number, name: string, { from, to }: LeafRange): void {
  const { hash } = directoryHash(name, state.sb.hashSeed);
  if (hash < from || hash > to) state.problems.add(`a name of directory ${ino} is not where its index says`);
}

function named(
  state: Ext4State,
  ino: number,
  { name, entry, type }: { name: string; entry: number; type: number },
  parents: Map<number, { above: number | null; says: number }>,
): void {
  const { problems } = state;
  const shown = `'${Buffer.from(name, 'latin1').toString().slice(0, 64)}' in directory ${ino}`;
  const known = state.inodes.get(entry);
  if (name === '.' || name === '..' || /[/\0]/.test(name))
    problems.add(`directory ${ino} has an entry that is no name`);
  else if (known === undefined) problems.add(`${shown} names inode ${entry}, which is not in use`);
  else if (known.type !== type) problems.add(`${shown} is of another type than its inode`);
  if (known === undefined) return;
  known.found++;
  if (known.type !== c.FT_DIR) return;
  const before = parents.get(entry);
  if (before?.above !== undefined && before.above !== null)
    problems.add(`${shown} is a directory that is elsewhere too`);
  parents.set(entry, { above: ino, says: before?.says ?? 0 });
}

/** Every directory hangs on the root, and calls the one it is in its parent. */
function checkTree(state: Ext4State, parents: ReadonlyMap<number, { above: number | null; says: number }>): void {
  for (const [ino, { above, says }] of parents) {
    const expected = ino === c.ROOT_INO ? c.ROOT_INO : above;
    if (expected !== null && says !== expected)
      state.problems.add(`directory ${ino} says that it is in ${says}, and is in ${expected}`);
  }
  const reached = new Set<number>([c.ROOT_INO]);
  for (const start of parents.keys()) {
    const way: number[] = [];
    for (let ino = start; !reached.has(ino); ) {
      way.push(ino);
      const above = parents.get(ino)?.above ?? null;
      if (above === null || way.includes(above)) {
        if (above !== null) state.problems.add(`directory ${ino} is below itself`);
        break;
      }
      ino = above;
    }
    for (const ino of way) reached.add(ino);
  }
}
