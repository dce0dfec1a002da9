/** Builds a timeline of one container's run from the spans and marks that endpoint, hostd and guest recorded (`src/common/trace.ts`). */

/** Something that was recorded. */
export interface TraceEvent {
  /** When it began, in ms since 1970. */
  at: number;
  /** How long it took in ms; null for a single moment. */
  took: number | null;
  /** Who recorded it. */
  who: string;
  what: string;
  /** The operation that it belongs to. */
  op: string;
}

const CREATE = /^begins POST (\/v[\d.]+)?\/containers\/create\b/;
/** Calls that always wait for news: their length says nothing. */
const WAITING = /^vim25 WaitForUpdatesEx$/;
/** What the guest did, step by step: names and ms. */
const GUEST = /^guest info-set guestinfo\.caisson\.run\.timeline (.*)$/;

/** The events in a log, in the order of its lines. Other lines are skipped. */
export function traceEvents(log: string, who: string): TraceEvent[] {
  return log
    .split('\n')
    .filter((line) => line.includes('"span"'))
    .flatMap((line) => {
      try {
        const { time, span, ms, op } = JSON.parse(line) as { time?: string; span?: string; ms?: number; op?: string };
        if (typeof time !== 'string' || typeof span !== 'string' || WAITING.test(span)) return [];
        const took = typeof ms === 'number' ? ms : null;
        return { at: Date.parse(time) - (took ?? 0), took, who, what: span, op: op ?? '' };
      } catch {
        return [];
      }
    });
}

/**
 * What happened from the creation of a container to that of the next one, in order.
 * @param last 1: of the latest container, 2: of the one before …
 * @throws RangeError when fewer containers were created
 */
export function timelineOf(events: readonly TraceEvent[], last = 1): TraceEvent[] {
  const sorted = [...events].sort((a, b) => a.at - b.at);
  const creations = sorted.filter(({ what }) => CREATE.test(what));
  const began = creations.at(-last)?.at;
  if (began === undefined)
    throw new RangeError(`${creations.length} containers were created while traces were written`);
  const next = last === 1 ? Number.POSITIVE_INFINITY : creations.at(1 - last)!.at;
  return sorted.filter(({ at }) => at >= began && at < next);
}

/** As lines: ms since the beginning, duration in ms, who, and what. */
export function printTimeline(events: readonly TraceEvent[]): string {
  const began = events[0]?.at ?? 0;
  const number = (value: number | null): string => (value === null ? '' : value.toFixed(1)).padStart(8);
  const lines = [`${'at ms'.padStart(8)} ${'took ms'.padStart(8)}  who       what`];
  for (const { at, took, who, what, op } of events) {
    const steps = GUEST.exec(what)?.[1];
    if (steps === undefined) {
      lines.push(`${number(at - began)} ${number(took)}  ${who.padEnd(9)} ${what}${op === '' ? '' : `  [${op}]`}`);
      continue;
    }
    for (const step of steps.split(', ')) {
      const [, name = step, ms] = /^(.*) ([\d.]+)$/.exec(step) ?? [];
      lines.push(`${number(null)} ${number(ms === undefined ? null : Number(ms))}  guest     ${name}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
