/** Compares two normalised outcomes part by part. */
import type { Outcome } from './engine-side.js';

/** One place where the outcomes differ. `undefined`: it is not there. */
export interface Difference {
  /** `body.State.Status`, `headers.server`, `stderr`, `body[0].Names`. */
  path: string;
  reference: unknown;
  ours: unknown;
}

/** All places where they differ: missing and additional fields, types, values. */
export function differences(reference: Outcome, ours: Outcome): Difference[] {
  const found: Difference[] = [];
  compare('', reference, ours, found);
  return found;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

function compare(path: string, reference: unknown, ours: unknown, found: Difference[]): void {
  if (Array.isArray(reference) && Array.isArray(ours)) {
    for (let i = 0; i < Math.max(reference.length, ours.length); i++)
      compare(`${path}[${i}]`, reference[i], ours[i], found);
  } else if (isObject(reference) && isObject(ours)) {
    for (const key of new Set([...Object.keys(reference), ...Object.keys(ours)]))
      compare(path === '' ? key : `${path}.${key}`, reference[key], ours[key], found);
  } else if (reference !== ours) {
    found.push({ path, reference, ours });
  }
}
