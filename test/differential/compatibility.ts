/** The compatibility table, docs/COMPATIBILITY.md, generated from the table of accepted differences. */
import { ACCEPTED, type Accepted, NOT_YET } from './accepted.js';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function table(entries: Accepted[], reasons: boolean): string {
  const rows = new Set(
    entries.map(({ what, docker, caisson, reason }) =>
      [what, docker, caisson, ...(reasons ? [reason] : [])].map(cell).join(' | '),
    ),
  );
  const head = ['what', 'Docker Engine', 'Caisson', ...(reasons ? ['why'] : [])];
  return [head.join(' | '), head.map(() => '---').join(' | '), ...rows].map((row) => `| ${row} |`).join('\n');
}

/** The document. */
export function compatibilityDocument(): string {
  const open = ACCEPTED.filter(({ reason }) => reason === NOT_YET);
  return [
    '# Where Caisson differs from Docker Engine',
    '',
    'Generated from `test/differential/accepted.ts` (`npx vitest run --project unit compatibility -u` updates it). The differential suite',
    '(`npx vitest run --project differential`) compares the two engines, Docker 28.5 with API 1.51, on everything a client can see; what is not in',
    'this table is equal in every comparison there.',
    '',
    '## Intended',
    '',
    table(
      ACCEPTED.filter(({ reason }) => reason !== NOT_YET),
      true,
    ),
    ...(open.length === 0 ? [] : ['', '## Not done yet', '', table(open, false)]),
    '',
  ].join('\n');
}
