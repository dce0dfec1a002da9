/** Patterns with stars, of anybody: in time that grows with their lengths alone, as a regular expression's does not. */

/** Whether `pattern` fits all of `text`: `*` stands for any characters, `?` for one. */
export function matchesGlob(text: string, pattern: string): boolean {
  let [at, next] = [0, 0];
  /** The last star, and how far it reaches. Those before it need not reach further: what follows them has been found. */
  let [star, reached] = [-1, 0];
  while (at < text.length) {
    if (pattern[next] === '*') {
      star = next++;
      reached = at;
    } else if (pattern[next] === '?' || pattern[next] === text[at]) {
      next++;
      at++;
    } else if (star >= 0) {
      next = star + 1;
      at = ++reached;
    } else return false;
  }
  while (pattern[next] === '*') next++;
  return next === pattern.length;
}
