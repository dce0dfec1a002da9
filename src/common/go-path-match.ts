/** Go's `path.Match`: the patterns of `docker images --filter reference=`. Takes time proportional to the lengths only. */
import { matchesStars, type StarRules } from './glob.js';

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
  return (text) => matchesStars([...text], tokens, RULES);
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

function fits(character: string, token: Token): boolean {
  switch (token.kind) {
    case 'star':
      return false;
    case 'any':
      return character !== '/';
    case 'literal':
      return character === token.character;
    case 'class':
      return token.ranges.some(([low, high]) => low <= character && character <= high) !== token.negated;
  }
}

const RULES: StarRules<Token> = {
  isStar: ({ kind }) => kind === 'star',
  fits,
  reaches: (character) => character !== '/',
};
