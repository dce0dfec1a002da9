/** Rates as `tc` writes them: tc(8), "RATES". */
import { invalid } from './errors.js';

/** Bits a second. Below it a connection is of no use; above it no machine gets. */
const LEAST = 8_000;
const MOST = 1e12;

const PREFIXES: Record<string, number> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
};

/** `10mbit`, `1.5gbit`, `500kibit`, `2mbps` (bytes), or bits without a unit. @returns bits a second @throws invalid naming `what` */
export function parseBitRate(what: string, text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)(?:([kmgt]i?)?(bit|bps))?$/i.exec(text);
  if (match === null)
    throw invalid(`${what} '${text}' is no rate, such as 10mbit, 1.5gbit, 500kbit (bits a second) or 2mbps (bytes)`);
  const [, number = '', prefix = '', unit = 'bit'] = match;
  const bits = Math.round(
    Number(number) * (PREFIXES[prefix.toLowerCase()] ?? 1) * (unit.toLowerCase() === 'bps' ? 8 : 1),
  );
  if (bits < LEAST || bits > MOST) throw invalid(`${what} '${text}' is not between 8kbit and 1tbit`);
  return bits;
}

/** In the largest unit without a fraction: `10mbit`. @param bits a second */
export function bitRateText(bits: number): string {
  for (const prefix of ['t', 'g', 'm', 'k'])
    if (bits > 0 && bits % PREFIXES[prefix]! === 0) return `${bits / PREFIXES[prefix]!}${prefix}bit`;
  return `${bits}bit`;
}
