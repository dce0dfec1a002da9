/** What is wrong with a text that is no JSON, in the words of Go's decoder, which clients of Docker know (`encoding/json`, scanner). */

/** Where the text stops being JSON, and why. */
class Problem extends Error {}

const EOF = 'unexpected EOF';
const WHITE = /[ \t\r\n]/;

/** Reads one value, as far as it must. @param text that `JSON.parse` does not take @returns e.g. `invalid character 'x' looking for beginning of value` */
export function jsonProblem(text: string): string {
  const reader = new Reader(text);
  try {
    reader.value();
    return 'unexpected content after JSON';
  } catch (error) {
    if (error instanceof Problem) return `invalid JSON: ${error.message}`;
    // Deeper than the stack.
    return 'invalid JSON: exceeded max depth';
  }
}

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  value(): void {
    const first = this.next();
    if (first === '{') this.object();
    else if (first === '[') this.array();
    else if (first === '"') this.string();
    else if (first === '-' || /[0-9]/.test(first)) this.number(first);
    else if (first === 't') this.literal('true');
    else if (first === 'f') this.literal('false');
    else if (first === 'n') this.literal('null');
    else this.wrong(first, 'looking for beginning of value');
  }

  private object(): void {
    let character = this.next();
    if (character === '}') return;
    for (;;) {
      if (character !== '"') this.wrong(character, 'looking for beginning of object key string');
      this.string();
      this.expect(':', 'after object key');
      this.value();
      if (this.expect(',}', 'after object key:value pair') === '}') return;
      character = this.next();
    }
  }

  private array(): void {
    if (this.next() === ']') return;
    this.at--;
    do this.value();
    while (this.expect(',]', 'after array element') === ',');
  }

  private string(): void {
    for (let character = this.take(); character !== '"'; character = this.take()) {
      if (character < ' ') this.wrong(character, 'in string literal');
      if (character !== '\\') continue;
      const escaped = this.take();
      if (escaped === 'u') for (let i = 0; i < 4; i++) this.digit(/[0-9a-f]/i, 'in \\u hexadecimal character escape');
      else if (!'bfnrt\\/"'.includes(escaped)) this.wrong(escaped, 'in string escape code');
    }
  }

  private number(first: string): void {
    const lead = first === '-' ? this.digit(/[0-9]/, 'in numeric literal') : first;
    if (lead !== '0') this.digits();
    if (this.text[this.at] === '.') {
      this.at++;
      this.digit(/[0-9]/, 'after decimal point in numeric literal');
      this.digits();
    }
    if (/[eE]/.test(this.text[this.at] ?? '')) {
      this.at++;
      if (/[+-]/.test(this.text[this.at] ?? '')) this.at++;
      this.digit(/[0-9]/, 'in exponent of numeric literal');
      this.digits();
    }
  }

  private digits(): void {
    while (/[0-9]/.test(this.text[this.at] ?? '')) this.at++;
  }

  private digit(allowed: RegExp, where: string): string {
    const character = this.take();
    if (!allowed.test(character)) this.wrong(character, where);
    return character;
  }

  private literal(word: string): void {
    for (const expected of word.slice(1)) {
      const character = this.take();
      if (character !== expected) this.wrong(character, `in literal ${word} (expecting '${expected}')`);
    }
  }

  private expect(allowed: string, where: string): string {
    const character = this.next();
    if (!allowed.includes(character)) this.wrong(character, where);
    return character;
  }

  /** The next character that is no white space. */
  private next(): string {
    while (WHITE.test(this.text[this.at] ?? '')) this.at++;
    return this.take();
  }

  private take(): string {
    const point = this.text.codePointAt(this.at);
    if (point === undefined) throw new Problem(EOF);
    const character = String.fromCodePoint(point);
    this.at += character.length;
    return character;
  }

  private wrong(character: string, where: string): never {
    throw new Problem(`invalid character ${quoted(character)} ${where}`);
  }
}

const NAMED: Record<string, string> = { '\n': '\\n', '\t': '\\t', '\r': '\\r', '\\': '\\\\', "'": "\\'" };

function quoted(character: string): string {
  const code = character.charCodeAt(0);
  const hex = (): string => `\\x${code.toString(16).padStart(2, '0')}`;
  return `'${NAMED[character] ?? (code < 0x20 || code === 0x7f ? hex() : character)}'`;
}
