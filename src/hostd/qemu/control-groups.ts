/**
 * A control group for each QEMU, with bounds for memory and processes, where the machine lets us make one: below hostd's own group with version 1,
 * and with version 2 beside it or beside one above (a group that has groups of its own holds no processes there). No weights of
 * processor time: a machine of the warm pool has to give way by its priority, which counts only within a group.
 */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import {
  bound,
  CONTROLLERS,
  findPlaces,
  type GroupLimits,
  type Hierarchy,
  inside,
  type Place,
  removed,
} from './control-group-places.js';

const log = logger('cage');

/** Groups of an earlier hostd are looked for so deep in a hierarchy. */
const DEPTH = 6;

/** The groups of one host. */
export class ControlGroups {
  /** Directories of groups, by their names. */
  private readonly groups = new Map<string, string[]>();
  /** Directories that are to be removed. */
  private readonly left = new Set<string>();
  /** What is being done to a group, by its name. */
  private readonly turns = new Map<string, Promise<unknown>>();
  private told = false;

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
    const { places, hierarchies, reasons } = await findPlaces(name, proc);
    return new ControlGroups(
      name,
      places,
      hierarchies,
      places.flatMap(({ controllers }) => controllers.map((one) => `cgroup-${one}`)),
      [...reasons].map(([controller, why]) => `a control group for ${controller} (${why})`),
    );
  }

  /** Makes a group. @returns its directories, to be joined; none where that is not possible any more */
  make(name: string, limits: GroupLimits): Promise<string[]> {
    return this.inTurn(name, async () => {
      const made: string[] = [];
      for (const { version, controllers, directory } of this.places) {
        const group = join(directory, name);
        this.left.delete(group);
        try {
          await mkdir(group, { recursive: true });
          await bound(group, version, controllers, limits);
          made.push(group);
        } catch (error) {
          log[this.told ? 'debug' : 'warn']({ group, err: messageOf(error) }, 'a VM has no control group');
          this.told = true;
          if (!(await removed(group))) this.left.add(group);
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
    await this.clear();
  }

  /** Removes groups that an earlier hostd left, also one that was in another group than this one is. */
  async sweep(): Promise<void> {
    const used = new Set([...this.groups.values()].flat());
    const roots = this.hierarchies.filter(({ version, controllers }) => version === 2 || controllers.some(isOurs));
    const found = await Promise.all(roots.map(({ mountPoint }) => named(this.name, mountPoint)));
    for (const directory of new Set([...found.flat(), ...this.places.map((one) => one.directory)]))
      for (const group of await groupsIn(directory)) if (!used.has(group)) this.left.add(group);
    await this.clear();
    for (const directory of found.flat()) if (!this.isPlace(directory)) await removed(directory);
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
    await Promise.all([...this.left].map((group) => this.inTurn(basename(group), () => this.drop(group))));
  }

  private async drop(group: string): Promise<void> {
    // It was made again meanwhile.
    if (!this.left.has(group) || !(await removed(group))) return;
    this.left.delete(group);
    // Of an earlier hostd that was started elsewhere.
    if (!this.isPlace(dirname(group))) await removed(dirname(group));
  }

  private isPlace(directory: string): boolean {
    return this.places.some((place) => place.directory === directory);
  }

  /** What is made must not be removed because it was there before; groups of different names have nothing to do with each other. */
  private inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const done = (this.turns.get(name) ?? Promise.resolve()).then(work);
    const over = done.then(
      () => undefined,
      () => undefined,
    );
    this.turns.set(name, over);
    void over.then(() => {
      if (this.turns.get(name) === over) this.turns.delete(name);
    });
    return done;
  }
}

const isOurs = (controller: string): boolean => CONTROLLERS.some((one) => one === controller);

/** Groups of that name below a directory. */
async function named(name: string, directory: string, depth = DEPTH): Promise<string[]> {
  if (depth === 0) return [];
  const below = await groupsIn(directory);
  const found = await Promise.all(
    below.map((group) => (basename(group) === name ? [group] : named(name, group, depth - 1))),
  );
  return found.flat();
}

async function groupsIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(directory, entry.name));
}
