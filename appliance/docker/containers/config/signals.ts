/** Signals by name or number, as Linux on x86 numbers them. */
import { constants } from 'node:os';
import { invalid } from '../../../../src/common/errors.js';

/** `KILL`, `SIGKILL`, `9`, `RTMIN+1`. @throws invalid in Docker's words */
export function parseSignal(text: string): number {
  if (/^[+-]?\d+$/.test(text)) {
    const number = Number(text);
    if (number > 0 && number <= 64) return number;
    throw invalid(number === 0 ? `invalid signal: ${text}` : `the linux daemon does not support signal ${number}`);
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const real = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (real !== null) {
    const number = (real[1] === 'MIN' ? 34 : 64) + (real[2] === '-' ? -1 : 1) * Number(real[3] ?? 0);
    if (number >= 34 && number <= 64) return number;
  }
  const known = (constants.signals as Record<string, number | undefined>)[`SIG${name}`];
  if (known === undefined) throw invalid(`invalid signal: ${text}`);
  return known;
}

/** {@link parseSignal} for texts of an image: one that is not a signal is ignored. */
export function signalOr(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  try {
    return parseSignal(text);
  } catch {
    return fallback;
  }
}
