/** The filters of `docker network ls` (moby `daemon/network/filter.go`). */
import type { NetworkInfo } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import { withinTime } from '../values/bounded-time.js';
import { checkFilters, type Filters, hasLabel } from '../values/filters.js';

const KNOWN = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

/** How long a regular expression may take for all names. */
const NAME_MS = 200;

type Filtered = Pick<NetworkInfo, 'id' | 'name' | 'driver' | 'labels' | 'predefined' | 'endpoints'>;

/**
 * The networks that pass: of the values of a filter one is enough, but all labels must be there, and of several types each adds its own.
 * @param whole whether the answer shows containers: only then does Docker see that a network is in use
 * @throws invalid in Docker's words
 */
export function filterNetworks<T extends Filtered>(networks: T[], given: Filters, whole: boolean): T[] {
  checkFilters(given, KNOWN);
  const exact = (name: string, value: string): boolean => {
    const values = given.get(name) ?? [];
    return values.length === 0 || values.includes(value);
  };
  const named = matches('name', given, networks, ({ name }) => name);
  const identified = matches('id', given, networks, ({ id }) => id);
  const found = networks.filter(
    (network) =>
      exact('driver', network.driver) &&
      exact('scope', 'local') &&
      named(network) &&
      identified(network) &&
      (given.get('label') ?? []).every((label) => hasLabel(network.labels, label)),
  );
  const wanted = dangling(given.get('dangling') ?? []);
  const inUse = (network: T): boolean => network.predefined || (whole && network.endpoints.length > 0);
  const used = wanted === null ? found : found.filter((network) => inUse(network) !== wanted);
  const types = given.get('type') ?? [];
  if (types.length === 0) return used;
  return types.flatMap((type) => used.filter(({ predefined }) => predefined === (builtin(type) === true)));
}

/** A value is a part of the text, or a regular expression for it. */
function matches<T>(
  name: string,
  given: Filters,
  networks: T[],
  textOf: (network: T) => string,
): (network: T) => boolean {
  const values = given.get(name) ?? [];
  if (values.length === 0) return () => true;
  const found = new Set<T>();
  for (const value of values) {
    let test: RegExp | null = null;
    try {
      test = new RegExp(value);
    } catch {
      // Not an expression, but a text may still be the same.
    }
    const fitting = withinTime(NAME_MS, () =>
      networks.filter((network) => textOf(network) === value || test?.test(textOf(network)) === true),
    );
    if (fitting === undefined)
      throw invalid(`invalid filter '${name}=${value}': the regular expression takes too long`);
    for (const network of fitting.value) found.add(network);
  }
  return (network) => found.has(network);
}

/** null: not asked. */
function dangling(values: string[]): boolean | null {
  const [value] = values;
  if (value === undefined) return null;
  if (values.length > 1) throw invalid('got more than one value for filter key "dangling"');
  if (!['0', '1', 'false', 'true'].includes(value))
    throw invalid('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")');
  return value === '1' || value === 'true';
}

function builtin(type: string): boolean {
  if (type !== 'builtin' && type !== 'custom') throw invalid(`invalid filter: 'type'='${type}'`);
  return type === 'builtin';
}
