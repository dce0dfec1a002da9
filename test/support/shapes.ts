/** Every property of every object of a vSphere host, as govmomi reads it: the Go program of test/vcsim/shape. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildGo } from './go.js';
import type { GovmomiTarget } from './govmomi.js';

/** The properties of one object. */
export interface Shape {
  type: string;
  value: string;
  /** Go types by property path. */
  types: Record<string, string>;
  /** Missing required properties. */
  required: string[];
  error?: string;
}

/** Walks all objects. @throws with govmomi's message when it cannot start */
export async function shapes(target: GovmomiTarget): Promise<Shape[]> {
  const url = new URL(target.url);
  url.username = encodeURIComponent(target.user);
  url.password = encodeURIComponent(target.password);
  const program = await buildGo(new URL('../vcsim/shape', import.meta.url).pathname);
  const { stdout } = await promisify(execFile)(program, ['-url', url.href], { maxBuffer: 256 * 1024 * 1024 });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Shape);
}

/** Problems: objects that could not be read, and missing required properties. */
export function flaws(all: Shape[]): string[] {
  return all.flatMap(({ type, value, error, required }) => (error ? [`${type} ${value}: ${error}`] : required));
}
