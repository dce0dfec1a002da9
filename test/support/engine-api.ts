/** The answers of the Engine API 1.51, field by field: names and types, from its OpenAPI document. */
import { readFileSync } from 'node:fs';

/** A type's name, an array of one shape, `{"*": shape}` for a map, or an object with its fields. */
type Shape = string | [Shape] | { [field: string]: Shape };

/** Shapes of answers by what they tell: `inspect`, `list`, `exec`, `info`, … */
export const ENGINE_API = JSON.parse(
  readFileSync(new URL('./engine-api.generated.json', import.meta.url), 'utf8'),
) as Record<string, Shape>;

/** How an answer differs from its shape: fields of the wrong type, unknown ones, and missing ones, as paths. */
export interface Deviations {
  wrong: string[];
  unknown: string[];
  missing: string[];
}

/** Compares. `null` stands for every shape but a plain type, as Go writes empty ones. */
export function deviations(answer: unknown, shape: Shape, path: string): Deviations {
  const found: Deviations = { wrong: [], unknown: [], missing: [] };
  compare(answer, shape, path, found);
  return {
    wrong: [...new Set(found.wrong)],
    unknown: [...new Set(found.unknown)],
    missing: [...new Set(found.missing)],
  };
}

function compare(value: unknown, shape: Shape, path: string, found: Deviations): void {
  if (shape === 'any') return;
  if (typeof shape === 'string') {
    const type = value === null ? 'null' : typeof value;
    const fits = type === shape || (type === 'null' && shape !== 'string');
    if (!fits) found.wrong.push(`${path}: ${type}, not ${shape}`);
  } else if (Array.isArray(shape)) {
    if (value === null) return;
    if (!Array.isArray(value)) found.wrong.push(`${path}: no array`);
    else for (const item of value) compare(item, shape[0], `${path}[]`, found);
  } else {
    if (value === null) return;
    if (typeof value !== 'object' || Array.isArray(value)) {
      found.wrong.push(`${path}: no object`);
      return;
    }
    for (const [field, inner] of Object.entries(value)) {
      const known = shape['*'] ?? (Object.hasOwn(shape, field) ? shape[field] : undefined);
      if (known === undefined) found.unknown.push(`${path}.${field}`);
      else compare(inner, known, `${path}.${shape['*'] === undefined ? field : '*'}`, found);
    }
    for (const field of Object.keys(shape))
      if (field !== '*' && !Object.hasOwn(value, field)) found.missing.push(`${path}.${field}`);
  }
}
