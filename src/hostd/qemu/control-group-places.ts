/**
 * Where control groups can be made on this machine, and for which controllers. Places are found in `/proc` and tried with a process, since
 * being able to make a directory does not prove that it limits anything.
 *
 * Facts: cgroups(7), proc_pid_mountinfo(5), the kernel's cgroup-v2.rst.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../../common/errors.js';

/** The limits of a group. */
export interface GroupLimits {
  memoryMiB: number;
  processes: number;
}

export const CONTROLLERS = ['memory', 'pids'] as const;
export type Controller = (typeof CONTROLLERS)[number];
/** Name of a group made only to find out whether groups can be made. */
const TRIAL = 'trial';
const TRIAL_LIMITS: GroupLimits = { memoryMiB: 64, processes: 8 };

/** A directory in which groups are made, and for which controllers. */
export interface Place {
  version: 1 | 2;
  controllers: Controller[];
  directory: string;
}

/** A mounted hierarchy: which of its groups is the mount's root, and where that is mounted. */
export interface Hierarchy {
  version: 1 | 2;
  /** For version 1. */
  controllers: string[];
  root: string;
  mountPoint: string;
}

/** What {@link findPlaces} found. */
export interface Places {
  places: Place[];
  hierarchies: Hierarchy[];
  /** Why a controller has no place. */
  reasons: Map<Controller, string>;
}

/**
 * Finds where groups can be made.
 * @param name of the group that will contain all of them
 * @param proc this process's directory in `/proc`
 */
export async function findPlaces(name: string, proc: string): Promise<Places> {
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
      reasons.set(controller, reasonOf(error));
    }
  }
  return { places: merge(places), hierarchies, reasons };
}

/** Removes a group, unless it has processes. @returns whether it is gone */
export function removed(group: string): Promise<boolean> {
  return rmdir(group).then(
    () => true,
    (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT',
  );
}
/** Merges places, so that there is one for all controllers of a hierarchy. */
function merge(places: Place[]): Place[] {
  const merged = new Map<string, Place>();
  for (const { version, controllers, directory } of places) {
    const there = merged.get(directory);
    if (there === undefined) merged.set(directory, { version, directory, controllers: [...controllers] });
    else there.controllers.push(...controllers);
  }
  return [...merged.values()];
}

/** Sets a group's limits. @throws anything */
export async function bound(
  group: string,
  version: 1 | 2,
  controllers: Controller[],
  limits: GroupLimits,
): Promise<void> {
  for (const controller of controllers)
    for (const [file, value] of settings(version, controller, limits))
      await writeFile(join(group, file), value, { flag: 'r+' });
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

/** Makes the group that contains those of all VMs. @throws anything, with a message that explains it */
async function place(name: string, controller: Controller, hierarchies: Hierarchy[], own: string): Promise<Place> {
  const first = hierarchies.find(({ version, controllers }) => version === 1 && controllers.includes(controller));
  if (first !== undefined) {
    const line = own.split('\n').find((one) => one.split(':')[1]?.split(',').includes(controller));
    const directory = join(inside(first, line?.split(':').slice(2).join(':') ?? '/'), name);
    return tried({ version: 1, controllers: [controller], directory });
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
      return await tried({ version: 2, controllers: [controller], directory });
    } catch (error) {
      why = reasonOf(error);
    }
  }
  throw new Error(why);
}

/**
 * Makes a group there with a process in it, and removes it again.
 * @throws anything, with a message that explains it; nothing is left then
 */
async function tried(place: Place): Promise<Place> {
  const group = join(place.directory, `${TRIAL}-${place.controllers.join('-')}`);
  let child: ChildProcess | null = null;
  try {
    await mkdir(group, { recursive: true });
    await bound(group, place.version, place.controllers, TRIAL_LIMITS);
    // It ends when its input does.
    child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' });
    await once(child, 'spawn');
    await writeFile(join(group, 'cgroup.procs'), String(child.pid), { flag: 'r+' });
    await end(child);
    await rmdir(group);
    return place;
  } catch (error) {
    if (child !== null) await end(child).catch(() => undefined);
    await removed(group);
    // Whatever stays there belongs to another controller, or to an earlier hostd whose VMs go on.
    await removed(place.directory);
    throw error;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const over = once(child, 'exit');
  child.stdin?.end();
  await over;
}

/** Why a group cannot be made. The kernel's own messages say little to people who have not read its documentation. */
function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EBUSY') return 'processes are in the group that hostd is in, and it has no other for groups of its own';
  if (code === 'EROFS') return 'control groups can be read only';
  if (code === 'EACCES' || code === 'EPERM') return 'it is not allowed to change control groups';
  return messageOf(error);
}

/** The directory of a group. In a container, the path may be the one on the machine, while only the container's own group is mounted. */
export function inside({ root, mountPoint }: Hierarchy, path: string): string {
  const below = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
  const directory = join(mountPoint, below);
  return existsSync(directory) ? directory : mountPoint;
}

/** Enables a controller for the groups inside a group. */
async function enable(group: string, controller: Controller): Promise<void> {
  const file = join(group, 'cgroup.subtree_control');
  if ((await readFile(file, 'utf8')).split(/\s+/).includes(controller)) return;
  await writeFile(file, `+${controller}`, { flag: 'r+' });
}
