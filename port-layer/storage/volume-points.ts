/**
 * The points that volumes stand on: who needs them at the moment, the removal of those that nobody needs, and merging of those that only one
 * disk stands on (`src/hostd/disks/merge-disks.ts`), so that chains do not grow with each snapshot that was made and removed.
 *
 * Merging goes on beside everything else. It has two steps: the first may take long and is noticed by nobody. The second puts one disk into
 * another one's place, which nobody may be reading by its path: whoever {@link PointUse.keep keeps} points holds it up, or waits for it.
 */
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { chainsOf, mergeable, type Neighbours, neededPoints, withoutPoint } from './point-chains.js';
import type { VolumeUse } from './volume-use.js';
import type { Volumes } from './volumes.js';

const log = logger('storage');
/** See the constructor. */
const SHORT = 8;

export type PointRecords = Pick<
  Volumes,
  'list' | 'get' | 'alone' | 'update' | 'diskPath' | 'labels' | 'placeOfPoints' | 'pointsMoved'
>;

/** See the file's head. */
export class PointUse {
  /** Points that are needed although no volume's record says so, or that are being read. */
  private readonly busy = new Map<string, number>();
  private clearing: Promise<void> = Promise.resolve();
  private merging: Promise<void> = Promise.resolve();
  /** A disk is taking another one's place. */
  private moving: Promise<void> | null = null;
  /** Something was let go of that could not be merged for its sake. */
  private held = false;
  /** Nobody needs some point any more, but it was being read when the others were removed. */
  private left = false;

  constructor(
    private readonly volumes: PointRecords,
    private readonly use: VolumeUse,
    /** Chains of so many points are left alone: backups go by what a volume stood on. */
    private readonly short = SHORT,
  ) {}

  /** Keeps points as they are, until {@link done}. */
  async keep(points: readonly string[]): Promise<void> {
    while (this.moving !== null) await this.moving;
    for (const point of points) this.busy.set(point, (this.busy.get(point) ?? 0) + 1);
  }

  done(points: readonly string[]): void {
    for (const point of points) {
      const left = (this.busy.get(point) ?? 1) - 1;
      if (left > 0) this.busy.set(point, left);
      else this.busy.delete(point);
    }
    if (this.left) void this.clear();
    else if (this.held && this.busy.size === 0) this.merge();
  }

  /** Removes the points that nobody needs. Never throws: what stays is removed the next time, or when nobody reads it any more. */
  clear(): Promise<void> {
    this.clearing = this.clearing
      .then(() => this.clearNow())
      .catch((error: unknown) => log.warn({ err: messageOf(error) }, 'disks that nobody needs any more stay'));
    this.merge();
    return this.clearing;
  }

  /** Begins merging what can be merged. */
  private merge(): void {
    this.held = false;
    this.merging = this.merging.then(async () => {
      for (const label of this.volumes.labels())
        await this.mergeIn(label).catch((error: unknown) =>
          log.warn({ store: label, err: messageOf(error) }, 'disks that could be one stay as they are'),
        );
    });
  }

  /** Resolves when everything that can be merged now is. */
  async merged(): Promise<void> {
    for (let present: Promise<void> | null = null; present !== this.merging; ) {
      present = this.merging;
      await present;
    }
  }

  private async clearNow(): Promise<void> {
    this.left = false;
    for (const label of this.volumes.labels()) {
      const { files, directory } = this.volumes.placeOfPoints(label);
      for (const file of await files.list(directory)) {
        const point = /^([0-9a-f]{16})\.vmdk$/.exec(file)?.[1];
        if (point === undefined || neededPoints(this.volumes.list()).has(point)) continue;
        if (this.busy.has(point)) this.left = true;
        else await files.remove(`${directory}/${file}`);
      }
    }
  }

  private async mergeIn(label: string): Promise<void> {
    const { files } = this.volumes.placeOfPoints(label);
    if (!files.sharesDisks) return;
    const failed = new Set<string>();
    for (;;) {
      const volumes = this.volumesOf(label);
      const long = new Set(chainsOf(volumes).flatMap((chain) => (chain.length > this.short ? chain : [])));
      // The lowest first, and never a volume's own disk: the next backup goes by the newest points.
      const next = mergeable(volumes).findLast(
        ({ upper, lower }) => 'point' in upper && long.has(lower) && !failed.has(lower),
      );
      if (next === undefined) return;
      if (!(await this.mergeOne(label, next))) failed.add(next.lower);
    }
  }

  private volumesOf(label: string) {
    const { directory } = this.volumes.placeOfPoints(label);
    return this.volumes.list().filter(({ store }) => this.volumes.placeOfPoints(store).directory === directory);
  }

  /** @returns whether the two are one now */
  private async mergeOne(label: string, pair: Neighbours): Promise<boolean> {
    const { upper, lower } = pair;
    try {
      if ('point' in upper) return await this.mergeDisks(label, pair);
      const { volume } = upper;
      const release = await this.use.hold(volume, { write: true });
      try {
        // It may have got another point in the meantime.
        const one = (): Promise<boolean> =>
          this.volumes.get(volume)?.points?.[0] === lower ? this.mergeDisks(label, pair) : Promise.resolve(false);
        return await this.volumes.alone(volume, one).then(async (merged) => {
          if (merged) await this.forget(label, lower);
          return merged;
        });
      } finally {
        release();
      }
    } catch (error) {
      // It is in use: this is done when it is not.
      if (!isKind(error, 'conflict'))
        log.warn({ point: lower, err: messageOf(error) }, 'two disks of a volume could not be made one');
      return false;
    }
  }

  private async mergeDisks(label: string, { upper, lower }: Neighbours): Promise<boolean> {
    const { files, directory } = this.volumes.placeOfPoints(label);
    const below = `${directory}/${lower}.vmdk`;
    const above = 'point' in upper ? `${directory}/${upper.point}.vmdk` : this.volumes.diskPath(upper.volume);
    // An endpoint that was killed may have come as far as that.
    if ((await files.list(directory)).includes(`${lower}.vmdk`)) {
      await files.mergeDisk(above, below);
      if (this.busy.has(lower) || ('point' in upper && this.busy.has(upper.point))) {
        this.held = true;
        return false;
      }
      await this.move(() => files.takePlace(below, above));
      log.info({ lower, upper }, 'two disks of a volume are one now');
    }
    if ('point' in upper) await this.forget(label, lower);
    return true;
  }

  private async move(body: () => Promise<void>): Promise<void> {
    let over!: () => void;
    this.moving = new Promise((resolve) => {
      over = resolve;
    });
    try {
      await body();
    } finally {
      // Also after an error: the answer may have been lost.
      this.volumes.pointsMoved();
      this.moving = null;
      over();
    }
  }

  /** Takes a point that is gone out of all records. A clone that was being made meanwhile may have it too. */
  private async forget(label: string, point: string): Promise<void> {
    for (;;) {
      const having = this.volumesOf(label).filter((info) => withoutPoint(info, point) !== null);
      if (having.length === 0) return;
      for (const { name } of having)
        await this.volumes.alone(name, async () => {
          const info = this.volumes.get(name);
          const next = info === undefined ? null : withoutPoint(info, point);
          if (next !== null) await this.volumes.update(next);
        });
    }
  }
}
