/**
 * The endpoint's program where the endpoint's user can read it. A checkout below /root, or Node in root's home, is closed to everybody
 * else: they are mounted where all may look then, in a mount namespace of the endpoint's.
 */
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { mkdir, realpath, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { logger } from '../../common/log.js';

const log = logger('endpoint-vm');

/** Of the project: what a program of it reads. */
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const PARTS = ['dist', 'node_modules', 'src', 'package.json'];

/** Mounts `$1` over `$2`, as many as there are before `--`, and runs what follows. */
const MOUNT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@"';

/** How programs of the project are run by users who are not root. */
export interface ProgramPlace {
  /** What comes before the command. */
  prefix: string[];
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
  return {
    prefix:
      mounts.length === 0
        ? []
        : ['unshare', '--mount', '--propagation=slave', '--', 'sh', '-c', MOUNT, 'sh', ...mounts, '--'],
    node: nodeThere,
    program: (path) => join(rootThere, relative(root, path)),
  };
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
