/** The keys that detach a terminal from a session. */
import { invalid } from '../../../src/common/errors.js';

const SPECIAL: Record<string, number> = { '@': 0, '[': 27, '\\': 28, ']': 29, '^': 30, _: 31 };
export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';

/** The bytes of a sequence such as `ctrl-p,ctrl-q`. @param called Docker's word for the keys @throws invalid in Docker's words */
export function parseDetachKeys(text: string, called: 'detach' | 'escape' = 'detach'): number[] {
  return text.split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const control = /^ctrl-(.)$/.exec(key)?.[1];
    if (control !== undefined && /[a-z]/.test(control)) return control.charCodeAt(0) - 96;
    if (control !== undefined && SPECIAL[control] !== undefined) return SPECIAL[control];
    throw invalid(`Invalid ${called} keys (${text}) provided`);
  });
}

/** Finds the detach sequence in typed input. Holds back what may be its beginning until that is clear. */
export class DetachFilter {
  private matched = 0;

  constructor(private readonly keys: number[]) {}

  /** The input to pass on, and whether the sequence was typed. */
  push(input: Buffer): { pass: Buffer; detached: boolean } {
    const pass: number[] = [];
    for (const byte of input) {
      if (byte === this.keys[this.matched]) {
        this.matched++;
        if (this.matched === this.keys.length) return { pass: Buffer.from(pass), detached: true };
        continue;
      }
      pass.push(...this.keys.slice(0, this.matched));
      this.matched = byte === this.keys[0] ? 1 : 0;
      if (this.matched === 0) pass.push(byte);
    }
    return { pass: Buffer.from(pass), detached: false };
  }
}
