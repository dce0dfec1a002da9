/**
 * A control group for each QEMU, with bounds for memory and processes, where the machine lets us make one: below hostd's own group with version 1,
 * and with version 2 beside it or beside one above (a group that has groups of its own holds no processes there). No weights of
 * processor time: a machine of the warm pool has to give way by its priority, which counts only within a group.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';

const log = logger('cage');

/** What a group is bounded by. */
export interface GroupLimits {
  memoryMiB: number;
  processes: number;
}

const CONTROLLERS = ['memory', 'pids'] as const;
type Controller = (typeof CONTROLLERS)[number];

/** Where groups are made, and for which controllers. */
interface Place {
  version: 1 | 2;
  controllers: Controller[];
  directory: string;
}

/** A mounted hierarchy: its root's path inside of it, and where that is. */
interface Hierarchy {
  version: 1 | 2;
  /** Of version 1. */
  controllers: string[];
  root: string;
  mountPoint: string;
}

/** The groups of one host. */
export class ControlGroups {
  /** Directories of groups, by their names. */
  private readonly groups = new Map<string, string[]>();
  /** Directories that are to be removed. */
  private readonly left = new Set<string>();
  private turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly name: string,
    private readonly places: Place[],
    private readonly hierarchies: Hierarchy[],
    /** As they are told of, e.g. `cgroup-memory`. */
    readonly limits: string[],
    /** With the reasons. */
    readonly missing: string[],
  ) {}

  /** Finds where groups can be made. @param name of the group that has all of them */
  static async open(name: string, proc = '/proc/self'): Promise<ControlGroups> {
    const places: Place[] = [];
    const reasons = new Map<Controller, string>();
    const [mounts = '', groups = ''] = await Promise.all(
      ['mountinfo', 'cgroup'].map((file) => readFile(join(proc, file), 'utf8').catch(() => '')),
    );
    const hierarchies = readHierarchies(mounts);
    for (const controller of CONTROLLERS) {
      try {
        places.push(await place(name, controller, hierarchies, groups));
      } catch (error) {
        reasons.set(controller, messageOf(error));
      }
    }
    const merged = merge(places);
    return new ControlGroups(
      name,
      merged,
      hierarchies,
      merged.flatMap(({ controllers }) => controllers.map((one) => `cgroup-${one}`)),
      [...reasons].map(([controller, why]) => `a control group for ${controller} (${why})`),
    );
  }

  /** Makes a group. @returns its directories, to be joined; none where that is not possible any more */
  make(name: string, limits: GroupLimits): Promise<string[]> {
    return this.inTurn(async () => {
      const made: string[] = [];
      for (const { version, controllers, directory } of this.places) {
        const group = join(directory, name);
        try {
          await mkdir(group, { recursive: true });
          for (const controller of controllers)
            for (const [file, value] of settings(version, controller, limits))
              await writeFile(join(group, file), value, { flag: 'r+' });
          made.push(group);
          this.left.delete(group);
        } catch (error) {
          log.warn({ group, err: messageOf(error) }, 'a VM has no control group');
        }
      }
      this.groups.set(name, made);
      return made;
    });
  }

  /** Takes over the group of a process that runs since before this hostd, perhaps elsewhere. @returns its name here */
  async adopt(pid: number): Promise<string> {
    const name = `process ${pid}`;
    this.groups.set(name, await this.of(pid));
    return name;
  }

  /** Removes the group of what has ended. One that the kernel is not done with yet is removed with the next. */
  async remove(name: string): Promise<void> {
    for (const group of this.groups.get(name) ?? []) this.left.add(group);
    this.groups.delete(name);
    await this.inTurn(() => this.clear());
  }

  /** Removes groups that an earlier hostd left. */
  async sweep(): Promise<void> {
    const used = new Set([...this.groups.values()].flat());
    for (const { directory } of this.places)
      for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => []))
        if (entry.isDirectory() && !used.has(join(directory, entry.name))) this.left.add(join(directory, entry.name));
    await this.inTurn(() => this.clear());
  }

  /** Removes all groups, as far as they have no processes, and what they are in. */
  async close(): Promise<void> {
    await this.sweep();
    for (const { directory } of this.places) await removed(directory);
  }

  /** Directories of the groups of a process, as far as they are ours. */
  private async of(pid: number): Promise<string[]> {
    const text = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    return text.split('\n').flatMap((line) => {
      const [, controllers = '', ...rest] = line.split(':');
      const path = rest.join(':');
      const hierarchy = this.hierarchies.find((one) =>
        one.version === 2
          ? controllers === ''
          : controllers !== '' && one.controllers.includes(controllers.split(',')[0]!),
      );
      return hierarchy !== undefined && basename(dirname(path)) === this.name ? [inside(hierarchy, path)] : [];
    });
  }

  private async clear(): Promise<void> {
    for (const group of [...this.left]) {
      if (!(await removed(group))) continue;
      this.left.delete(group);
      // Of an earlier hostd that was started elsewhere.
      if (!this.places.some(({ directory }) => directory === dirname(group))) await removed(dirname(group));
    }
  }

  /** What is made must not be removed because it was there before. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return done;
  }
}

/** True when there is no such group any more; one that has processes stays. */
function removed(group: string): Promise<boolean> {
  return rmdir(group).then(
    () => true,
    (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT',
  );
}

/** One place for all controllers of a hierarchy. */
function merge(places: Place[]): Place[] {
  const merged = new Map<string, Place>();
  for (const { version, controllers, directory } of places) {
    const there = merged.get(directory);
    if (there === undefined) merged.set(directory, { version, directory, controllers: [...controllers] });
    else there.controllers.push(...controllers);
  }
  return [...merged.values()];
}

function settings(version: 1 | 2, controller: Controller, limits: GroupLimits): [file: string, value: string][] {
  if (controller === 'pids') return [['pids.max', String(limits.processes)]];
  const bytes = String(limits.memoryMiB * 2 ** 20);
  return [[version === 2 ? 'memory.max' : 'memory.limit_in_bytes', bytes]];
}

/** See proc_pid_mountinfo(5). */
export function readHierarchies(mountinfo: string): Hierarchy[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [mount = '', rest = ''] = line.split(' - ');
    const [type, , options = ''] = rest.split(' ');
    const [, , , root = '/', mountPoint = ''] = mount.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') return [];
    return [{ version: type === 'cgroup' ? 1 : 2, controllers: options.split(','), root, mountPoint } as const];
  });
}

/** Makes the group that has those of all VMs. @throws anything, in words */
async function place(name: string, controller: Controller, hierarchies: Hierarchy[], own: string): Promise<Place> {
  const first = hierarchies.find(({ version, controllers }) => version === 1 && controllers.includes(controller));
  if (first !== undefined) {
    const line = own.split('\n').find((one) => one.split(':')[1]?.split(',').includes(controller));
    const directory = join(inside(first, line?.split(':').slice(2).join(':') ?? '/'), name);
    await mkdir(directory, { recursive: true });
    return { version: 1, controllers: [controller], directory };
  }
  const unified = hierarchies.find(({ version }) => version === 2);
  if (unified === undefined) throw new Error('there is no such controller');
  const start = inside(
    unified,
    own
      .split('\n')
      .find((line) => line.startsWith('0::'))
      ?.slice(3) ?? '/',
  );
  let why = '';
  for (let above = start; above.startsWith(unified.mountPoint); above = dirname(above)) {
    try {
      await enable(above, controller);
      const directory = join(above, name);
      await mkdir(directory, { recursive: true });
      await enable(directory, controller);
      return { version: 2, controllers: [controller], directory };
    } catch (error) {
      why = messageOf(error);
    }
  }
  throw new Error(why);
}

/** The directory of a group. In a container its path may be that of the machine, which is mounted from its own group on. */
function inside({ root, mountPoint }: Hierarchy, path: string): string {
  const below = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
  const directory = join(mountPoint, below);
  return existsSync(directory) ? directory : mountPoint;
}

/** Lets the groups in a group have a controller. */
async function enable(group: string, controller: Controller): Promise<void> {
  const file = join(group, 'cgroup.subtree_control');
  if ((await readFile(file, 'utf8')).split(/\s+/).includes(controller)) return;
  await writeFile(file, `+${controller}`, { flag: 'r+' });
}
