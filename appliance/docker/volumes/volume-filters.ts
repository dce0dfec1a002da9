/** The filters of `docker volume ls`. */
import type { VolumeInfo } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import { PruneFilters } from '../prune/prune-filters.js';
import { withinTime } from '../values/bounded-time.js';
import { boolFilter, checkFilters } from '../values/filters.js';
import type { VolumeService } from './volume-service.js';

/** How long a regular expression may take for all names. */
const NAME_MS = 200;

/** The volumes that pass the filters. @throws invalid in Docker's words */
export function filterVolumes(
  volumes: Pick<VolumeService, 'list' | 'usersOf'>,
  given: Map<string, string[]>,
): VolumeInfo[] {
  checkFilters(given, ['dangling', 'driver', 'label', 'name']);
  const wanted = given.has('dangling') ? boolFilter(given, 'dangling', false) : null;
  const drivers = given.get('driver') ?? [];
  const names = given.get('name') ?? [];
  const all = volumes.list();
  const named = names.length === 0 ? null : matching(all, names);
  const labels = new PruneFilters(new Map([['label', given.get('label') ?? []]]));
  return all.filter(
    (volume) =>
      (wanted === null || (volumes.usersOf(volume.name).length === 0) === wanted) &&
      (drivers.length === 0 || drivers.includes(volume.driver)) &&
      (named === null || named.has(volume.name)) &&
      labels.allow(Number.NaN, volume.labels ?? {}),
  );
}

/**
 * The names that contain a text, or match it as a regular expression.
 * @throws invalid for an expression that takes too long: unlike Go's, JavaScript's can
 */
function matching(volumes: VolumeInfo[], expressions: string[]): Set<string> {
  const names = volumes.map(({ name }) => name);
  const found = new Set<string>();
  for (const expression of expressions) {
    let test: RegExp | null = null;
    try {
      test = new RegExp(expression);
    } catch {
      // Not an expression, but a name may still contain it.
    }
    const fitting = withinTime(NAME_MS, () =>
      names.filter((name) => name.includes(expression) || test?.test(name) === true),
    );
    if (fitting === undefined)
      throw invalid(`invalid filter 'name=${expression}': the regular expression takes too long`);
    for (const name of fitting.value) found.add(name);
  }
  return found;
}
