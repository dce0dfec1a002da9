/** Glob patterns from untrusted sources. Unlike a regular expression, matching takes time proportional to the lengths only. */

/** Whether `pattern` matches all of `text`: `*` stands for any characters, `?` for one. */
export function matchesGlob(text: string, pattern: string): boolean {
  let [at, next] = [0, 0];
  /** The last star, and how far it reaches. Earlier stars need not reach further, since what follows them has been found. */
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
