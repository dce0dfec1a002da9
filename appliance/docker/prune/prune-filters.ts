/** The filters that all prune requests share: `until`, `label` and `label!`. */
import { CaissonError, invalid, messageOf } from '../../../src/common/errors.js';
import { hasLabel } from '../values/filters.js';
import { parseTime } from '../values/timestamps.js';

/** Decides what may be pruned. */
export class PruneFilters {
  private readonly untilMs: number | null;

  /** @throws invalid in Docker's words */
  constructor(
    private readonly given: Map<string, string[]>,
    now = Date.now(),
  ) {
    const until = given.get('until') ?? [];
    if (until.length > 1) throw invalid('more than one until filter specified');
    this.untilMs = until[0] === undefined ? null : Number(parseTime(until[0], now) / 1_000_000n);
  }

  /** Whether something with that age and these labels may go. @param created in milliseconds; NaN: not known */
  allow(created: number, labels: Record<string, string>): boolean {
    if (this.untilMs !== null && !(created <= this.untilMs)) return false;
    if (!hasAll(labels, this.given.get('label') ?? [])) return false;
    const without = this.given.get('label!') ?? [];
    return without.length === 0 || !hasAll(labels, without);
  }
}

function hasAll(labels: Record<string, string>, wanted: string[]): boolean {
  return wanted.every((label) => hasLabel(labels, label));
}

/** Runs `body`, and puts `prefix` before the message of what it throws. @throws invalid */
export function prefixed<T>(prefix: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw new CaissonError('invalid', `${prefix}${messageOf(error)}`, { cause: error });
  }
}
