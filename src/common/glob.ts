/** Glob patterns from untrusted sources. Unlike a regular expression, matching takes time proportional to the lengths only. */

/** Whether `pattern` matches all of `text`: `*` stands for any characters, `?` for one. */
export function matchesGlob(text: string, pattern: string): boolean {
  return matchesStars(text, pattern, {
    isStar: (token) => token === '*',
    fits: (character, token) => token === '?' || token === character,
  });
}

/** What a kind of pattern is made of: stars, which stand for any number of characters, and tokens for one character each. */
export interface StarRules<Token> {
  isStar(token: Token): boolean;
  /** Whether a token that is no star matches a character. */
  fits(character: string, token: Token): boolean;
  /** Whether a star may stand for the character; without it, for all. */
  reaches?(character: string): boolean;
}

/** Whether the tokens match all of a text. */
export function matchesStars<Token>(
  text: ArrayLike<string>,
  tokens: ArrayLike<Token>,
  { isStar, fits, reaches = () => true }: StarRules<Token>,
): boolean {
  let [at, next] = [0, 0];
  /** The last star, and how far it reaches. Earlier stars need not reach further, since what follows them has been found. */
  let [star, reached] = [-1, 0];
  while (at < text.length) {
    const token = tokens[next];
    if (token !== undefined && isStar(token)) {
      star = next++;
      reached = at;
    } else if (token !== undefined && fits(text[at]!, token)) {
      next++;
      at++;
    } else if (star >= 0 && reaches(text[reached]!)) {
      next = star + 1;
      at = ++reached;
    } else return false;
  }
  while (next < tokens.length && isStar(tokens[next]!)) next++;
  return next === tokens.length;
}
