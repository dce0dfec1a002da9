/**
 * A control group for each QEMU, with limits on memory and processes, where the machine lets us make one: with version 1 below hostd's own
 * group, with version 2 beside it or beside one above it (there, a group that contains groups holds no processes). CPU weights are not set:
 * a VM of the warm pool has to give way by its priority, which counts only within a group.
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

/** How deep in a hierarchy groups of an earlier hostd are looked for. */
const DEPTH = 6;

/** The groups of one host. */
export class ControlGroups {
  /** Directories of each group, by its name. */
  private readonly groups = new Map<string, string[]>();
  /** Directories that still have to be removed. */
  private readonly left = new Set<string>();
  /** What is being done to each group, by its name. */
  private readonly turns = new Map<string, Promise<unknown>>();
  private told = false;

  private constructor(
    private readonly name: string,
    private readonly places: Place[],
    private readonly hierarchies: Hierarchy[],
    /** The limits in force, as they are reported, e.g. `cgroup-memory`. */
    readonly limits: string[],
    /** The limits that cannot be had, with the reasons. */
    readonly missing: string[],
  ) {}

  /** Finds where groups can be made. @param name of the group that contains all of them */
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

  /** Makes a group. @returns its directories, for the process to join; without those where that is no longer possible */
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

  /** Takes over the group of a process that was started before this hostd, perhaps in another place. @returns its name here */
  async adopt(pid: number): Promise<string> {
    const name = `process ${pid}`;
    this.groups.set(name, await this.of(pid));
    return name;
  }

  /** Removes the group of a process that has ended. If the kernel is not done with it yet, it is removed together with the next one. */
  async remove(name: string): Promise<void> {
    for (const group of this.groups.get(name) ?? []) this.left.add(group);
    this.groups.delete(name);
    await this.clear();
  }

  /** Removes groups that an earlier hostd left, even if that hostd ran in another group than this one. */
  async sweep(): Promise<void> {
    const used = new Set([...this.groups.values()].flat());
    const roots = this.hierarchies.filter(({ version, controllers }) => version === 2 || controllers.some(isOurs));
    const found = await Promise.all(roots.map(({ mountPoint }) => named(this.name, mountPoint)));
    for (const directory of new Set([...found.flat(), ...this.places.map((one) => one.directory)]))
      for (const group of await groupsIn(directory)) if (!used.has(group)) this.left.add(group);
    await this.clear();
    for (const directory of found.flat()) if (!this.isPlace(directory)) await removed(directory);
  }

  /** Removes all groups without processes, and the group they are in. */
  async close(): Promise<void> {
    await this.sweep();
    for (const { directory } of this.places) await removed(directory);
  }

  /** Directories of those groups of a process that are ours. */
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
    // It may have been made again in the meantime.
    if (!this.left.has(group) || !(await removed(group))) return;
    this.left.delete(group);
    // It was left by an earlier hostd that was started in another place.
    if (!this.isPlace(dirname(group))) await removed(dirname(group));
  }

  private isPlace(directory: string): boolean {
    return this.places.some((place) => place.directory === directory);
  }

  /**
   * One thing at a time for each group, so that a group just made is not removed on account of its predecessor; groups of different names
   * do not wait for each other.
   */
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
