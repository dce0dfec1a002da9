/** `GET /containers/{id}/top`: a list of processes as `ps` prints it and Docker splits it into columns again. */
import type { ContainerInfo, ObserveService, ProcessList } from '../../../../port-layer/index.js';
import { unavailable } from '../../../../src/common/errors.js';
import type { PublishContainerEvent } from '../../events/event-publisher.js';
import { checkRunning } from '../container-lives.js';
import { parsePsOptions } from './ps-options.js';

const DEFAULT_OPTIONS = '-ef';
/** Columns that an option could rename so that they look like process ids. */
const DECEPTIVE = /\s+(\S*)=\s*(PID\S*)/g;

/** The answer of the API. */
export interface Top {
  Processes: string[][];
  Titles: string[];
}

/** The processes of a container. @param options of `ps` @throws conflict, or unavailable in the words of Docker or of ps */
export async function top(
  { observe, publish }: { observe: Pick<ObserveService, 'processes'>; publish: PublishContainerEvent },
  container: ContainerInfo,
  options: string,
  signal: AbortSignal,
): Promise<Top> {
  checkRunning(container);
  checkPsOptions(options);
  const result = topView(await observe.processes(container.spec.id, signal), options);
  publish(container, 'top');
  return result;
}

/** Checks options before the guest is asked. @throws unavailable in the words of Docker, or of ps */
function checkPsOptions(options: string): void {
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
  // Docker splits lines at spaces into as many words as there are titles; what is left belongs to the last column.
  const rows = sorted.map((process) => {
    const all = words(columns.map((column) => column.show(process, list)).join(' '));
    return all.length <= titles.length
      ? all
      : [...all.slice(0, titles.length - 1), all.slice(titles.length - 1).join(' ')];
  });
  return { Processes: rows, Titles: titles };
}
