/** The words of Dockerfile instructions: quoting, escapes and variables, as in the Dockerfile reference. */
import { invalid } from '../../../src/common/errors.js';

/** Splits at blanks outside quotes. Quotes and escapes stay, for {@link expand}. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = '';
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === '\\' && quote !== "'" && i + 1 < text.length) {
      word += char + text[++i];
    } else if (quote !== '') {
      word += char;
      if (char === quote) quote = '';
    } else if (char === '"' || char === "'") {
      quote = char;
      word += char;
    } else if (/\s/.test(char)) {
      if (word !== '') words.push(word);
      word = '';
    } else word += char;
  }
  if (word !== '') words.push(word);
  return words;
}

/**
 * Removes quotes and escapes from a word, and replaces its variables (`$A`, `${A}`, `${A:-x}`, `${A:+x}`).
 * @throws invalid for a malformed substitution
 */
export function expand(word: string, env: ReadonlyMap<string, string>): string {
  let out = '';
  let quote = '';
  for (let i = 0; i < word.length; i++) {
    const char = word[i]!;
    if (quote === "'") {
      if (char === "'") quote = '';
      else out += char;
    } else if (char === "'" && quote === '') quote = char;
    else if (char === '"') quote = quote === '"' ? '' : '"';
    else if (char === '\\') {
      const next = word[i + 1];
      // Between double quotes a backslash escapes only these.
      if (next === undefined || (quote === '"' && !'"$\\'.includes(next))) out += char;
      else {
        out += next;
        i++;
      }
    } else if (char === '$') {
      const { value, length } = variable(word.slice(i), env);
      out += value;
      i += length - 1;
    } else out += char;
  }
  return out;
}

function variable(text: string, env: ReadonlyMap<string, string>): { value: string; length: number } {
  const plain = /^\$([A-Za-z_][A-Za-z0-9_]*)/.exec(text);
  if (plain !== null) return { value: env.get(plain[1]!) ?? '', length: plain[0].length };
  const braced = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:[-+])([^}]*))?\}/.exec(text);
  if (braced !== null) {
    const [whole, name, operator, other = ''] = braced;
    const known = env.get(name!) ?? '';
    const value = operator === ':-' ? known || expand(other, env) : known;
    return { value: operator === ':+' ? (known === '' ? '' : expand(other, env)) : value, length: whole.length };
  }
  if (text.startsWith('${')) throw invalid(`failed to process "${text}": unsupported modifier in substitution`);
  return { value: '$', length: 1 };
}
