/** Patterns of file names with `*` and `?`, of which a client may send any. */

/** True when the name is of the pattern. In time of the product of their lengths at most, whatever they are. */
export function matchesGlob(pattern: string, name: string): boolean {
  let [p, n] = [0, 0];
  /** Where the last star is, and how much of the name it has taken in. */
  let [star, taken] = [-1, 0];
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === name[n])) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++taken;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
