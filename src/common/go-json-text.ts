/**
 * JSON as Go's `encoding/json` reads it (Go 1.27, which Docker Engine is built with): what it accepts, and what it refuses in which
 * words. Unlike `JSON.parse`, it keeps the order and repetition of keys and the digits of numbers.
 */

/** Why a text is refused, in Go's words. */
export class GoJsonError extends Error {
  /**
   * @param kind `trailing`: something follows the value; `empty`: there is only white space
   * @param before the value that something follows
   */
  constructor(
    message: string,
    readonly kind: 'syntax' | 'type' | 'trailing' | 'empty',
    readonly before?: JsonValue,
  ) {
    super(message);
  }
}

/** A number as it is written. */
export class JsonNumber {
  constructor(readonly text: string) {}
}

/** An object: its members in their order, those of the same name too. */
export class JsonObject {
  readonly members: [name: string, value: JsonValue][] = [];
}

export type JsonValue = null | boolean | string | JsonNumber | JsonValue[] | JsonObject;

/** Deepest nesting of objects and lists that is accepted. */
export const MAX_DEPTH = 10_000;

const ESCAPES: Record<string, string> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
const WORDS: Record<string, [word: string, value: JsonValue]> = {
  t: ['true', true],
  f: ['false', false],
  n: ['null', null],
};
/** Characters that stand for themselves in a string. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they may not stand there
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const LONE = /\p{Surrogate}/gu;
const DIGITS = /[0-9]*/y;
const WHITE = /[ \t\r\n]*/y;

/**
 * Reads the single value in a text, without recursion, however deep it is.
 * @throws GoJsonError
 */
export function parseGoJson(text: string): JsonValue {
  const reader = new Reader(text);
  if (reader.atEnd()) throw new GoJsonError('EOF', 'empty');
  const value = reader.value();
  if (!reader.atEnd()) throw new GoJsonError('unexpected content after JSON', 'trailing', value);
  return value;
}

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  atEnd(): boolean {
    this.skip(WHITE);
    return this.at >= this.text.length;
  }

  value(): JsonValue {
    /** The lists and objects being read, and for an object the name of the current member. */
    const open: { container: JsonValue[] | JsonObject; name: string }[] = [];
    for (;;) {
      let value = this.begin(this.next(), 'looking for beginning of value');
      if (typeof value === 'object' && value !== null && !(value instanceof JsonNumber)) {
        if (open.length >= MAX_DEPTH) throw new GoJsonError('exceeded max depth', 'syntax');
        const first = this.next();
        if (first !== (Array.isArray(value) ? ']' : '}')) {
          const name = Array.isArray(value) ? '' : this.name(first);
          if (Array.isArray(value)) this.at--;
          open.push({ container: value, name });
          continue;
        }
      }
      // A complete value belongs to whatever is open, and may complete that too.
      for (;;) {
        const inside = open.at(-1);
        if (inside === undefined) return value;
        const { container } = inside;
        if (Array.isArray(container)) {
          container.push(value);
          if (this.expect(',]', 'after array element') === ',') break;
        } else {
          container.members.push([inside.name, value]);
          if (this.expect(',}', 'after object key:value pair') === ',') {
            inside.name = this.name(this.next());
            break;
          }
        }
        value = container;
        open.pop();
      }
    }
  }

  /** A value, or just the opening bracket of a list or object. */
  private begin(first: string, where: string): JsonValue {
    if (first === '{') return new JsonObject();
    if (first === '[') return [];
    if (first === '"') return this.string();
    if (first === '-' || (first >= '0' && first <= '9')) return this.number(first);
    const word = WORDS[first];
    if (word === undefined) this.wrong(first, where);
    for (const expected of word[0].slice(1)) {
      const character = this.take();
      if (character !== expected) this.wrong(character, `in literal ${word[0]} (expecting '${expected}')`);
    }
    return word[1];
  }

  /** A member's name and the colon. */
  private name(first: string): string {
    if (first !== '"') this.wrong(first, 'looking for beginning of object key string');
    const name = this.string();
    this.expect(':', 'after object key');
    return name;
  }

  private string(): string {
    let result = '';
    for (;;) {
      const from = this.at;
      this.skip(PLAIN);
      result += this.text.slice(from, this.at);
      const character = this.take();
      // Lone surrogates are replaced.
      if (character === '"') return result.replace(LONE, '\ufffd');
      if (character !== '\\') this.wrong(character, 'in string');
      const escaped = this.take();
      if (escaped === 'u') {
        const digits = this.text.slice(this.at, this.at + 4);
        if (!/^[0-9a-f]{4}$/i.test(digits)) {
          if (this.at + 4 > this.text.length && /^[0-9a-f]*$/i.test(digits)) throw ended();
          throw new GoJsonError(`invalid escape sequence \`\\u${digits}\` in string`, 'syntax');
        }
        result += String.fromCharCode(Number.parseInt(digits, 16));
        this.at += 4;
      } else if (ESCAPES[escaped] !== undefined) result += ESCAPES[escaped];
      else throw new GoJsonError(`invalid escape sequence \`\\${escaped}\` in string`, 'syntax');
    }
  }

  private number(first: string): JsonNumber {
    const from = this.at - 1;
    const lead = first === '-' ? this.digit() : first;
    if (lead !== '0') this.skip(DIGITS);
    if (this.text[this.at] === '.') {
      this.at++;
      this.digit();
      this.skip(DIGITS);
    }
    if (/[eE]/.test(this.text[this.at] ?? '')) {
      this.at++;
      if (/[+-]/.test(this.text[this.at] ?? '')) this.at++;
      this.digit();
      this.skip(DIGITS);
    }
    return new JsonNumber(this.text.slice(from, this.at));
  }

  private digit(): string {
    const character = this.take();
    if (!/[0-9]/.test(character)) this.wrong(character, 'in numeric literal');
    return character;
  }

  private expect(allowed: string, where: string): string {
    const character = this.next();
    if (!allowed.includes(character)) this.wrong(character, where);
    return character;
  }

  private skip(what: RegExp): void {
    what.lastIndex = this.at;
    what.test(this.text);
    this.at = what.lastIndex;
  }

  /** The next character that is not white space. */
  private next(): string {
    this.skip(WHITE);
    return this.take();
  }

  private take(): string {
    const point = this.text.codePointAt(this.at);
    if (point === undefined) throw ended();
    const character = String.fromCodePoint(point);
    this.at += character.length;
    return character;
  }

  private wrong(character: string, where: string): never {
    throw new GoJsonError(`invalid character ${quoted(character)} ${where}`, 'syntax');
  }
}

const ended = (): GoJsonError => new GoJsonError('unexpected EOF', 'syntax');

const NAMED: Record<string, string> = { '\n': '\\n', '\t': '\\t', '\r': '\\r', '\\': '\\\\', "'": "\\'" };

/** A character as Go quotes it. */
function quoted(character: string): string {
  const code = character.codePointAt(0)!;
  if (NAMED[character] !== undefined) return `'${NAMED[character]}'`;
  if (code < 0x20 || code === 0x7f) return `'\\x${code.toString(16).padStart(2, '0')}'`;
  return code === 0xfeff ? "'\\ufeff'" : `'${character}'`;
}
