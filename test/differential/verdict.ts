/** Which differences of a comparison are accepted, and which entries of the table were needed. */
import { ACCEPTED } from './accepted.js';
import { type Case, step } from './case.js';
import { differences } from './compare.js';
import type { Outcome } from './engine-side.js';

/** Counts what the suite has compared. */
export class Verdicts {
  compared = 0;
  /** Steps that could not be compared: no recorded answer for this docker CLI. */
  skipped = 0;
  private readonly used = new Set<number>();

  /** One line for each difference of a case that is not accepted. */
  of(subject: string, one: Case, reference: (Outcome | undefined)[], ours: Outcome[]): string[] {
    return one.steps.flatMap((wanted, index) => {
      if (wanted.quiet) return [];
      const expected = reference[index];
      if (expected === undefined) {
        this.skipped++;
        return [];
      }
      this.compared++;
      const where = `${subject}/${one.name}#${index}`;
      return differences(expected, ours[index]!)
        .filter(({ path }) => !this.accepts(where, path))
        .map(
          ({ path, reference: theirs, ours: own }) =>
            `${where} (${step.title(wanted)})\n  ${path}\n    reference: ${shown(theirs)}\n    ours:      ${shown(own)}`,
        );
    });
  }

  private accepts(where: string, path: string): boolean {
    let accepted = false;
    for (const [index, entry] of ACCEPTED.entries()) {
      if (!entry.path.test(path) || !(entry.where?.test(where) ?? true)) continue;
      this.used.add(index);
      accepted = true;
    }
    return accepted;
  }

  /** Entries of the table that nothing needed. */
  unused(): string[] {
    return ACCEPTED.filter((_entry, index) => !this.used.has(index)).map(
      ({ what, where, path }) => `${what} (${String(where ?? 'everywhere')}, ${String(path)})`,
    );
  }
}

const shown = (value: unknown): string => (value === undefined ? '(nothing)' : JSON.stringify(value));
