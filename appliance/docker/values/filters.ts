/** Filters: by name, the values that a client gave. */
import { invalid } from '../../../src/common/errors.js';

export type Filters = Map<string, string[]>;

/** @throws invalid in Docker's words for a filter that is not among the known ones */
export function checkFilters(given: Filters, known: string[]): void {
  for (const name of given.keys()) if (!known.includes(name)) throw invalid(`invalid filter '${name}'`);
}

/** Whether labels (or annotations, or attributes) have `key`, or `key=value`. */
export function hasLabel(labels: Record<string, string>, wanted: string): boolean {
  const [key = '', ...rest] = wanted.split('=');
  return Object.hasOwn(labels, key) && (rest.length === 0 || labels[key] === rest.join('='));
}

/**
 * The value of a filter that is true or false, as Docker reads it.
 * @returns the fallback if it is not given @throws invalid for other values, and for both at once
 */
export function boolFilter(given: Filters, name: string, fallback: boolean): boolean {
  const values = given.get(name);
  if (values === undefined) return fallback;
  const yes = values.includes('1') || values.includes('true');
  const no = values.includes('0') || values.includes('false');
  if (yes !== no) return yes;
  throw invalid(`invalid filter '${name}${values.length === 0 ? '' : `=[${values.join(' ')}]`}'`);
}
