/** Property paths: `a.b["c d"].e`. */

/** `a.b["c d"].e` → a, b, c d, e */
export function splitPath(path: string): string[] {
  return [...path.matchAll(/\["([^"]*)"\]|\[(\d+)\]|([^.[\]]+)/g)].map((match) => match[1] ?? match[2] ?? match[3]!);
}

/** True for a path that is the other one or leads to a part of it. */
export function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(`${ancestor}.`) || path.startsWith(`${ancestor}[`);
}
