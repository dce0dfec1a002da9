/** Times as Go's JSON handles them (RFC 3339): which texts it accepts, and how it writes them again. */

const LAYOUT = '2006-01-02T15:04:05Z07:00';
/** The parts of a time: what a text must begin with, and what Go calls it. */
const PARTS: readonly [part: RegExp, name: string][] = [
  [/^\d{4}/, '2006'],
  [/^-/, '-'],
  [/^\d\d/, '01'],
  [/^-/, '-'],
  [/^\d\d/, '02'],
  [/^T/, 'T'],
  [/^\d\d/, '15'],
  [/^:/, ':'],
  [/^\d\d/, '04'],
  [/^:/, ':'],
  [/^\d\d(\.\d+)?/, '05'],
  [/^(Z|[+-]\d\d:\d\d)$/, 'Z07:00'],
];

/**
 * Reads a time.
 * @returns the time as Go writes it: no trailing zeros in fractions, UTC as `Z`
 * @throws Error in Go's words
 */
export function parseGoTime(text: string): string {
  const problem = (what: string): Error => new Error(`parsing time ${JSON.stringify(text)}${what}`);
  const found: string[] = [];
  let rest = text;
  for (const [part, name] of PARTS) {
    const match = part.exec(rest);
    if (match === null)
      throw problem(` as ${JSON.stringify(LAYOUT)}: cannot parse ${JSON.stringify(rest)} as ${JSON.stringify(name)}`);
    found.push(match[0]);
    rest = rest.slice(match[0].length);
  }
  const [year, , month, , day, , hour, , minute, , second, zone] = found as string[];
  const outside = (name: string): Error => problem(`: ${name} out of range`);
  if (Number(month) < 1 || Number(month) > 12) throw outside('month');
  if (Number(hour) > 23) throw outside('hour');
  if (Number(minute) > 59) throw outside('minute');
  if (Number(second) >= 60) throw outside('second');
  const days = new Date(Date.UTC(2000 + (Number(year) % 400), Number(month), 0)).getUTCDate();
  if (Number(day) < 1 || Number(day) > days) throw outside('day');
  if (/^.(2[4-9]|[3-9])|:[6-9]/.test(zone!)) throw outside('time zone offset');
  const [whole, fraction = ''] = second!.split('.');
  const digits = fraction.slice(0, 9).replace(/0+$/, '');
  return `${year}-${month}-${day}T${hour}:${minute}:${whole}${digits === '' ? '' : `.${digits}`}${/^[+-]00:00$/.test(zone!) ? 'Z' : zone}`;
}

/** {@link parseGoTime}; a text that is not a time is returned unchanged. */
export function formatGoTime(text: string): string {
  try {
    return parseGoTime(text);
  } catch {
    return text;
  }
}
