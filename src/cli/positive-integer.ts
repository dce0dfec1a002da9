import { invalid } from '../common/errors.js';

/** Number parser for commander. */
export function positiveInteger(name: string) {
  return (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value <= 0)
      throw invalid(`${name} takes a positive whole number, not '${text}'`);
    return value;
  };
}
