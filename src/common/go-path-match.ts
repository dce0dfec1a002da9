/** Go's `path.Match`: the patterns of `docker images --filter reference=`. Takes time proportional to the lengths only. */

type Token =
  | { kind: 'star' }
  /** One character that is not a slash. */
  | { kind: 'any' }
  | { kind: 'literal'; character: string }
  | { kind: 'class'; negated: boolean; ranges: [low: string, high: string][] };

/** A pattern that cannot be read. */
export class BadPattern extends Error {
  constructor() {
    super('syntax error in pattern');
  }
}

/**
 * Reads a pattern: `*` and `?` match all but slashes, `[a-z]` and `[^a]` one of these characters (or none of them), and a backslash
 * takes the next character as it is.
 * @returns whether it matches all of a text
 * @throws BadPattern
 */
export function pathMatcher(pattern: string): (text: string) => boolean {
  const tokens = read([...pattern]);
  return (text) => matches([...text], tokens);
}

function read(pattern: string[]): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const escaped = (): string => {
    if (pattern[at] === '\\') at++;
    const character = pattern[at++];
    if (character === undefined) throw new BadPattern();
    return character;
  };
  /** A character within brackets. */
  const member = (): string => {
    if (pattern[at] === '-' || pattern[at] === ']') throw new BadPattern();
    const character = escaped();
    if (at >= pattern.length) throw new BadPattern();
    return character;
  };
  while (at < pattern.length) {
    const character = pattern[at];
    if (character === '*' || character === '?') {
      tokens.push({ kind: character === '*' ? 'star' : 'any' });
      at++;
    } else if (character === '[') {
      at++;
      const negated = pattern[at] === '^';
      if (negated) at++;
      const ranges: [string, string][] = [];
      while (pattern[at] !== ']' || ranges.length === 0) {
        const low = member();
        if (pattern[at] !== '-') {
          ranges.push([low, low]);
          continue;
        }
        at++;
        ranges.push([low, member()]);
      }
      at++;
      tokens.push({ kind: 'class', negated, ranges });
    } else tokens.push({ kind: 'literal', character: escaped() });
  }
  return tokens;
}

function matches(text: string[], tokens: Token[]): boolean {
  let [at, next] = [0, 0];
  /** The last star, and how far it reaches. Earlier stars need not reach further, since what follows them has been found. */
  let [star, reached] = [-1, 0];
  while (at < text.length) {
    const token = tokens[next];
    if (token?.kind === 'star') {
      star = next++;
      reached = at;
    } else if (token !== undefined && fits(text[at]!, token)) {
      next++;
      at++;
    } else if (star >= 0 && text[reached] !== '/') {
      next = star + 1;
      at = ++reached;
    } else return false;
  }
  while (tokens[next]?.kind === 'star') next++;
  return next === tokens.length;
}

function fits(character: string, token: Exclude<Token, { kind: 'star' }>): boolean {
  switch (token.kind) {
    case 'any':
      return character !== '/';
    case 'literal':
      return character === token.character;
    case 'class':
      return token.ranges.some(([low, high]) => low <= character && character <= high) !== token.negated;
  }
}
