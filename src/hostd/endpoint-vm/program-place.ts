/**
 * Puts the endpoint's program where the endpoint's user can read it. A checkout below /root, or a Node in root's home, is closed to
 * everybody else: it is mounted in an open place, in a mount namespace of the endpoint's.
 */
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { mkdir, realpath, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf, unavailable } from '../../common/errors.js';
import { logger } from '../../common/log.js';

const log = logger('endpoint-vm');

/** The parts of the project that its programs read. */
const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
const PARTS = ['dist', 'node_modules', 'src', 'package.json'];

/** Mounts `$1` over `$2`, for all pairs before `--`, and runs what follows. */
const MOUNT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@"';

/** How programs of the project are run by users who are not root. */
export interface ProgramPlace {
  /**
   * What comes before the command.
   * @param mounts what else is mounted for it: pairs of paths, from where and to where
   */
  prefix(mounts?: string[]): string[];
  node: string;
  /** The path there of one of the project's programs. */
  program(path: string): string;
}

/** @param directory of root's, which all may pass through: for what has to be mounted */
export async function programPlace(directory: string): Promise<ProgramPlace> {
  const node = await realpath(process.execPath);
  const root = await realpath(ROOT);
  await openParts(root);
  const mounts: string[] = [];
  let [nodeThere, rootThere] = [node, root];
  if (!isOpen(node)) {
    nodeThere = join(directory, 'node');
    await writeFile(nodeThere, '', { mode: 0o644 });
    mounts.push(node, nodeThere);
  }
  if (!isOpen(root)) {
    rootThere = join(directory, 'program');
    for (const part of PARTS) {
      const [from, to] = [join(root, part), join(rootThere, part)];
      if (statSync(from).isDirectory()) await mkdir(to, { recursive: true, mode: 0o755 });
      else await writeFile(to, '', { mode: 0o644 });
      mounts.push(from, to);
    }
  }
  if (mounts.length > 0) await tryMounting(mounts, `${root} or ${node}`);
  return {
    prefix: (more = []) => mounting([...mounts, ...more]),
    node: nodeThere,
    program: (path) => join(rootThere, relative(root, path)),
  };
}

/**
 * Puts a directory that belongs to an endpoint where its user can reach it.
 * @param directory the directory itself
 * @param there where it is mounted if it lies in one that is closed to others
 * @returns its path for the endpoint, and what is to be mounted for that
 */
export async function openedDirectory(directory: string, there: string): Promise<{ path: string; mounts: string[] }> {
  if (passes(dirname(directory))) return { path: directory, mounts: [] };
  await mkdir(there, { recursive: true, mode: 0o755 });
  await tryMounting([directory, there], directory);
  return { path: there, mounts: [directory, there] };
}

function mounting(mounts: string[]): string[] {
  if (mounts.length === 0) return [];
  return ['unshare', '--mount', '--propagation=slave', '--', 'sh', '-c', MOUNT, 'sh', ...mounts, '--'];
}

/** @throws unavailable where nothing can be mounted, with what a user can do about it */
async function tryMounting(mounts: string[], what: string): Promise<void> {
  const [command = '', ...args] = mounting(mounts);
  await promisify(execFile)(command, [...args, 'true']).catch((error: unknown) => {
    throw unavailable(
      `${what} lies in a directory that is closed to other users than root, and the endpoint is not root. It cannot be mounted elsewhere for it (${messageOf(error)}). Open the directory to those who pass through it (chmod o+x), or move it.`,
      error,
    );
  });
}

/** Opens the project's files to readers where it was installed and built with a mask that closes them. */
async function openParts(root: string): Promise<void> {
  const samples = [
    'dist/appliance/main.js',
    'node_modules/pino/package.json',
    'src/vim25/table.generated.json',
    PARTS[3]!,
  ];
  if (samples.every((path) => (statSync(join(root, path)).mode & 0o4) === 0o4)) return;
  log.info({ root }, 'the program is made readable for endpoints, which are not root');
  const parts = PARTS.map((part) => join(root, part));
  await promisify(execFile)('chmod', ['-R', 'a+rX', ...parts]);
}

/** Whether everybody may look there. */
function isOpen(path: string): boolean {
  const { mode } = statSync(path);
  const parent = dirname(path);
  return (mode & 0o5) === 0o5 && (parent === path || passes(parent));
}

function passes(path: string): boolean {
  return (statSync(path).mode & 0o1) === 0o1 && (dirname(path) === path || passes(dirname(path)));
}
