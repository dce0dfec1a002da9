/** Which of the points that volumes stand on are needed, and which of them could be one with what stands on them. */
import type { VolumeInfo } from './types.js';

/** What stands on a point: another point, or a volume's disk. */
export type Upper = { point: string } | { volume: string };

/** Two neighbours of a chain, of which nobody needs the lower one for itself. */
export interface Neighbours {
  upper: Upper;
  lower: string;
}

type Chained = Pick<VolumeInfo, 'name' | 'points' | 'pending' | 'snapshots'>;

/** What each volume and each snapshot stands on. */
export function chainsOf(volumes: readonly Chained[]): string[][] {
  return volumes.flatMap(({ points = [], snapshots = [] }) => [points, ...snapshots.map((one) => one.points)]);
}

/** All points that volumes and their snapshots stand on. */
export function neededPoints(volumes: readonly Chained[]): Set<string> {
  return new Set(volumes.flatMap(pointsOf));
}

function pointsOf({ points = [], pending, snapshots = [] }: Chained): string[] {
  return [...(pending === undefined ? [] : [pending]), ...points, ...snapshots.flatMap((one) => one.points)];
}

/**
 * The neighbours that can become one disk: only one disk stands on the lower one, and no snapshot is kept in it. Of a volume that a point
 * is being made of, nothing is said until it is known what it stands on.
 * @param volumes all of one store
 */
export function mergeable(volumes: readonly Chained[]): Neighbours[] {
  const above = new Map<string, Map<string, Upper>>();
  const needed = new Set<string>();
  const chain = (points: readonly string[], first?: Upper): void => {
    let upper = first;
    for (const point of points) {
      const known = above.get(point) ?? new Map<string, Upper>();
      above.set(point, known);
      if (upper !== undefined) known.set(JSON.stringify(upper), upper);
      upper = { point };
    }
  };
  for (const volume of volumes) {
    const { name, points = [], pending, snapshots = [] } = volume;
    chain(points, { volume: name });
    for (const one of snapshots) {
      chain(one.points);
      needed.add(one.points[0] ?? '');
    }
    if (pending !== undefined) for (const point of pointsOf(volume)) needed.add(point);
  }
  const found: Neighbours[] = [];
  for (const [lower, uppers] of above) {
    const [upper, ...others] = uppers.values();
    if (upper !== undefined && others.length === 0 && !needed.has(lower)) found.push({ upper, lower });
  }
  return found;
}

/** A volume's record without a point that has become one with what stood on it; null if it does not have it. */
export function withoutPoint(info: VolumeInfo, point: string): VolumeInfo | null {
  if (!pointsOf(info).includes(point)) return null;
  const rest = (points: readonly string[]): string[] => points.filter((one) => one !== point);
  const { points, snapshots, ...kept } = info;
  const left = rest(points ?? []);
  return {
    ...kept,
    ...(left.length === 0 ? {} : { points: left }),
    ...(snapshots === undefined ? {} : { snapshots: snapshots.map((one) => ({ ...one, points: rest(one.points) })) }),
  };
}
