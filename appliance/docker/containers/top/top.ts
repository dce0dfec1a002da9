/** `GET /containers/{id}/top`: a list of processes as `ps` prints it and Docker takes it apart again. */
import type { ProcessList } from '../../../../port-layer/index.js';
import { unavailable } from '../../../../src/common/errors.js';
import { parsePsOptions } from './ps-options.js';

const DEFAULT_OPTIONS = '-ef';
/** What might look like a process id and be none. */
const DECEPTIVE = /\s+(\S*)=\s*(PID\S*)/g;

/** The answer of the API. */
export interface Top {
  Processes: string[][];
  Titles: string[];
}

/** Checks options before anybody is asked. @throws unavailable in the words of Docker, or of ps */
export function checkPsOptions(options: string): void {
  for (const [, name, value] of ` ${options}`.matchAll(DECEPTIVE))
    if (name !== 'pid') throw unavailable(`specifying "${name}=${value}" is not allowed`);
  parsePsOptions(options || DEFAULT_OPTIONS);
}

/** @throws unavailable in the words of Docker, or of ps */
export function topView(list: ProcessList, options: string): Top {
  const { columns, sort } = parsePsOptions(options || DEFAULT_OPTIONS);
  const words = (text: string): string[] => text.split(/[ \t\n\v\f\r]+/).filter((word) => word !== '');
  const titles = words(columns.map(({ title }) => title).join(' '));
  if (!titles.includes('PID')) throw unavailable("Couldn't find PID field in ps output");
  const sorted = [...list.processes];
  for (const { column, descending } of sort.toReversed()) {
    const key = (process: (typeof sorted)[number]): number | string =>
      column.order?.(process) ?? column.show(process, list);
    const sign = descending ? -1 : 1;
    sorted.sort((a, b) => (key(a) < key(b) ? -sign : key(a) > key(b) ? sign : 0));
  }
  // Docker splits lines at spaces: as many words as titles, the rest is the last one's.
  const rows = sorted.map((process) => {
    const all = words(columns.map((column) => column.show(process, list)).join(' '));
    return all.length <= titles.length
      ? all
      : [...all.slice(0, titles.length - 1), all.slice(titles.length - 1).join(' ')];
  });
  return { Processes: rows, Titles: titles };
}
