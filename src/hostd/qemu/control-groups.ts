/**
 * A control group for each QEMU, with bounds for memory and processes, where the machine lets us make one: below hostd's own group with version 1,
 * and with version 2 beside it or beside one above (a group that has groups of its own holds no processes there). No weights of
 * processor time: a machine of the warm pool has to give way by its priority, which counts only within a group.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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
  private readonly left = new Set<string>();

  private constructor(
    private readonly places: Place[],
    /** As they are told of, e.g. `cgroup-memory`. */
    readonly limits: string[],
    /** With the reasons. */
    readonly missing: string[],
  ) {}

  /** Finds where groups can be made, and removes what an earlier hostd left. @param name of the group that has all of them */
  static async open(name: string, proc = '/proc/self'): Promise<ControlGroups> {
    const places: Place[] = [];
    const reasons = new Map<Controller, string>();
    const [mounts, groups] = await Promise.all(
      ['mountinfo', 'cgroup'].map((file) => readFile(join(proc, file), 'utf8').catch(() => '')),
    );
    const hierarchies = readHierarchies(mounts ?? '');
    for (const controller of CONTROLLERS) {
      try {
        places.push(await place(name, controller, hierarchies, groups ?? ''));
      } catch (error) {
        reasons.set(controller, messageOf(error));
      }
    }
    const merged = merge(places);
    const all = new ControlGroups(
      merged,
      merged.flatMap(({ controllers }) => controllers.map((one) => `cgroup-${one}`)),
      [...reasons].map(([controller, why]) => `control group for ${controller} (${why})`),
    );
    await all.sweep();
    return all;
  }

  /** Makes a group. @returns its directories, to be joined; none where that is not possible any more */
  async make(name: string, limits: GroupLimits): Promise<string[]> {
    const made: string[] = [];
    this.left.delete(name);
    for (const { version, controllers, directory } of this.places) {
      const group = join(directory, name);
      try {
        await mkdir(group, { recursive: true });
        for (const controller of controllers)
          for (const [file, value] of settings(version, controller, limits))
            await writeFile(join(group, file), value, { flag: 'r+' });
        made.push(group);
      } catch (error) {
        log.warn({ group, err: messageOf(error) }, 'a VM has no control group');
      }
    }
    return made;
  }

  /** Removes the group of what has ended. One that the kernel is not done with yet is removed with the next. */
  async remove(name: string): Promise<void> {
    this.left.add(name);
    for (const one of [...this.left]) {
      const gone = await Promise.all(this.places.map(({ directory }) => removed(join(directory, one))));
      if (gone.every(Boolean)) this.left.delete(one);
    }
  }

  /** The name of the group of a running process, or null. */
  async of(pid: number): Promise<string | null> {
    const text = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    const parents = this.places.map(({ directory }) => directory.split('/').at(-1));
    const found = [...text.matchAll(/\/([^/\n]+)\/([^/\n]+)$/gm)].find(([, parent]) => parents.includes(parent));
    return found?.[2] ?? null;
  }

  /** Removes all groups, as far as they have no processes, and what they are in. */
  async close(): Promise<void> {
    await this.sweep();
    for (const { directory } of this.places) await rmdir(directory).catch(() => undefined);
  }

  private async sweep(): Promise<void> {
    for (const { directory } of this.places)
      for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => []))
        if (entry.isDirectory()) await removed(join(directory, entry.name));
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
