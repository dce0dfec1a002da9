/**
 * The reference for `applyLayer`: a layer applied to the operating system's own files in a directory. Names are strings
 * with one character per byte. Times and extended attributes are kept beside the files, by inode, since Node cannot
 * set them exactly.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  type Dirent,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type Described, digest } from '../../unit/disk/support.js';

/** An entry of a layer under test. */
export interface Step {
  name: string;
  type: 'file' | 'directory' | 'symlink' | 'link' | 'fifo' | 'char';
  target: string;
  content: Buffer;
  mode: number;
  uid: number;
  gid: number;
  mtime: bigint;
  xattrs: Record<string, string>;
}

interface Beside {
  mtime: bigint;
  xattrs: Map<string, string>;
}

const bytes = (path: string): Buffer => Buffer.from(path, 'latin1');

export class Oracle {
  private readonly beside = new Map<number, Beside>();
  /** Paths (from the root) that the current layer created, and the directories above them. */
  private fresh = new Set<string>();

  constructor(private readonly root: string) {
    this.beside.set(lstatSync(root).ino, { mtime: 0n, xattrs: new Map() });
    chmodSync(root, 0o755);
  }

  /** Begins the next layer. */
  nextLayer(): void {
    this.fresh = new Set();
  }

  private real(path: string): Buffer {
    return bytes(this.root + path);
  }

  private lstat(path: string): Stats | null {
    return lstatSync(this.real(path), { throwIfNoEntry: false }) ?? null;
  }

  /** The real path of directory `parts`, following symlinks inside the root, and those to create. Null: impossible. */
  private locate(parts: string[]): { path: string; missing: string[] } | null {
    let path = '';
    const rest = parts.map((name) => ({ name, linked: false }));
    let hops = 0;
    for (let step = rest.shift(); step; step = rest.shift()) {
      if (step.name === '..') {
        path = path.slice(0, Math.max(0, path.lastIndexOf('/')));
        continue;
      }
      const here = `${path}/${step.name}`;
      const stat = this.lstat(here);
      if (!stat) {
        if (step.linked || rest.some((next) => next.linked)) return null;
        return { path, missing: [step.name, ...rest.map((next) => next.name)] };
      }
      if (stat.isSymbolicLink()) {
        if (++hops > 40) return null;
        const target = readlinkSync(this.real(here), 'latin1');
        if (target.startsWith('/')) path = '';
        const names = target.split('/').filter((name) => name !== '' && name !== '.');
        rest.unshift(...names.map((name) => ({ name, linked: true })));
      } else if (stat.isDirectory()) path = here;
      else return null;
    }
    return { path, missing: [] };
  }

  private touch(path: string): void {
    for (let at = path; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) this.fresh.add(at);
  }

  private removeTree(path: string): void {
    const stat = this.lstat(path);
    if (!stat) return;
    rmSync(this.real(path), { recursive: true, force: true });
    for (const known of this.fresh) if (known === path || known.startsWith(`${path}/`)) this.fresh.delete(known);
  }

  private children(path: string): Dirent<Buffer>[] {
    return readdirSync(this.real(path), { withFileTypes: true, encoding: 'buffer' });
  }

  private removeLower(path: string): void {
    for (const child of this.children(path)) {
      const below = `${path}/${child.name.toString('latin1')}`;
      if (!this.fresh.has(below)) this.removeTree(below);
      else if (child.isDirectory()) this.removeLower(below);
    }
  }

  /** Applies one entry as Docker would. False, with nothing changed, for one that Docker would fail on. */
  apply(step: Step): boolean {
    const parts = step.name.split('/').filter((name) => name !== '' && name !== '.');
    const name = parts.pop();
    if (name === undefined) {
      if (step.type !== 'directory') return false;
      this.attributes('', step);
      return true;
    }
    const place = this.locate(parts);
    if (!place) return false;
    const path = [place.path, ...place.missing, name].join('/');
    if (step.type === 'link' && !this.linkable(step.target, path)) return false;
    for (const [i] of place.missing.entries()) {
      const made = [place.path, ...place.missing.slice(0, i + 1)].join('/');
      mkdirSync(this.real(made));
      // Nothing inherited from a directory with the setgid bit.
      chownSync(this.real(made), 0, 0);
      chmodSync(this.real(made), 0o755);
      this.beside.set((this.lstat(made) as Stats).ino, { mtime: step.mtime, xattrs: new Map() });
      this.touch(made);
    }
    if (name === '.wh..wh..opq') this.removeLower(path.slice(0, path.lastIndexOf('/')));
    else if (name.startsWith('.wh.')) this.removeTree(`${path.slice(0, path.lastIndexOf('/'))}/${name.slice(4)}`);
    else this.put(path, step);
    return true;
  }

  private linkTarget(target: string): string | null {
    const parts: string[] = [];
    for (const name of target.split('/').filter((part) => part !== '' && part !== '.')) {
      if (name !== '..') parts.push(name);
      else if (parts.pop() === undefined) return null;
    }
    const name = parts.pop();
    const place = name === undefined ? null : this.locate(parts);
    return place && place.missing.length === 0 ? `${place.path}/${name}` : null;
  }

  private linkable(target: string, path: string): boolean {
    const found = this.linkTarget(target);
    if (found === null || found === path || found.startsWith(`${path}/`)) return false;
    const stat = this.lstat(found);
    return stat !== null && !stat.isDirectory();
  }

  private put(path: string, step: Step): void {
    const there = this.lstat(path);
    const merge = there?.isDirectory() === true && step.type === 'directory';
    if (!merge) this.removeTree(path);
    const real = this.real(path);
    if (step.type === 'file') writeFileSync(real, step.content);
    else if (step.type === 'symlink') symlinkSync(bytes(step.target), real);
    else if (step.type === 'link') linkSync(this.real(this.linkTarget(step.target) as string), real);
    else if (step.type === 'directory') {
      if (!merge) mkdirSync(real);
    } else this.makeSpecial(path, step);
    const { ino } = this.lstat(path) as Stats;
    if (step.type !== 'link' && !merge) this.beside.set(ino, { mtime: 0n, xattrs: new Map() });
    this.touch(path);
    this.attributes(path, step);
  }

  private makeSpecial(path: string, step: Step): void {
    // A plain name for the program, as ours may contain any bytes.
    const command = 'd=$(mktemp -u "$0/node.XXXXXX"); mknod "$d" $1 $2 $3; printf %s "$d"';
    const args = step.type === 'fifo' ? ['p'] : ['c', '1', '3'];
    const made = execFileSync('sh', ['-c', command, this.root, ...args]).toString();
    linkSync(made, this.real(path));
    rmSync(made);
  }

  private attributes(path: string, step: Step): void {
    const real = this.real(path);
    const stat = this.lstat(path) as Stats;
    const beside = this.beside.get(stat.ino) as Beside;
    if (stat.isSymbolicLink()) lchownSync(real, step.uid, step.gid);
    else {
      chownSync(real, step.uid, step.gid);
      chmodSync(real, step.mode);
    }
    beside.mtime = step.mtime;
    if (!stat.isDirectory()) beside.xattrs.delete('security.capability');
    for (const [name, value] of Object.entries(step.xattrs)) {
      const takesUser = stat.isFile() || stat.isDirectory();
      if (takesUser || !name.startsWith('user.')) beside.xattrs.set(name, value);
    }
  }

  /** The whole tree, in the form of the unit tests' `describe`. */
  describe(): { files: Map<string, Described>; links: Map<number, string[]> } {
    const files = new Map<string, Described>();
    const links = new Map<number, string[]>();
    const pending = [''];
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const stat = this.lstat(path) as Stats;
      const beside = this.beside.get(stat.ino) as Beside;
      const type = kindOf(stat);
      let content = '';
      if (type === 'file') content = digest(readFileSync(this.real(path)));
      else if (type === 'symlink') content = readlinkSync(this.real(path), 'latin1');
      const major = ((stat.rdev >> 8) & 0xfff) >>> 0;
      files.set(path, {
        type,
        mode: stat.mode & 0o7777,
        uid: stat.uid,
        gid: stat.gid,
        mtime: beside.mtime,
        nlink: type === 'directory' ? 0 : stat.nlink,
        device: type === 'char' ? `${major}:${stat.rdev & 0xff}` : '0:0',
        content,
        xattrs: Object.fromEntries(beside.xattrs),
      });
      if (type === 'directory') {
        for (const child of this.children(path)) pending.push(`${path}/${child.name.toString('latin1')}`);
      } else links.set(stat.ino, [...(links.get(stat.ino) ?? []), path].sort());
    }
    return { files, links };
  }
}

function kindOf(stat: Stats): string {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  return 'char';
}
