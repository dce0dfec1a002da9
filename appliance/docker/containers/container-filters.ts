/** The filters of `docker ps`. */

import type { ContainerInfo, ExecService } from '../../../port-layer/index.js';
import { invalid, isKind } from '../../../src/common/errors.js';
import type { Image, ImageService } from '../../image/index.js';
import { withinTime } from '../values/bounded-time.js';
import { checkFilters, hasLabel } from '../values/filters.js';
import type { ContainerLives } from './container-lives.js';
import { recordOf } from './container-record.js';
import { dockerState } from './container-state.js';
import { containerNetworks, type ListPort, listPorts } from './network-view.js';
import type { ViewSources } from './view-sources.js';

const KNOWN = [
  'ancestor',
  'before',
  'exited',
  'expose',
  'health',
  'id',
  'is-task',
  'isolation',
  'label',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
];
const STATES = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];
const HEALTH = ['none', 'starting', 'healthy', 'unhealthy'];
const BOOLEANS = ['0', '1', 'true', 'false'];

/** How long a regular expression may take for all names. */
const NAME_MS = 200;

/** What the filters look at. */
export interface FilterSources {
  exec: Pick<ExecService, 'list' | 'resolve'>;
  images: Pick<ImageService, 'list' | 'resolve'>;
  lives: Pick<ContainerLives, 'of' | 'isUp'>;
  views: ViewSources;
}

type Test = (container: ContainerInfo, value: string) => boolean;

/** The containers that pass the filters, newest first. @throws invalid for unknown filters and values; notFound for a `before` or `since` that does not exist */
export function filterContainers(
  sources: FilterSources,
  containers: ContainerInfo[],
  filters: Map<string, string[]>,
  options: { all: boolean; limit: number; annotations?: boolean },
): ContainerInfo[] {
  // The filter for annotations exists since 1.56.
  checkFilters(filters, options.annotations === true ? [...KNOWN, 'annotation'] : KNOWN);
  for (const status of filters.get('status') ?? [])
    if (!STATES.includes(status))
      throw invalid(
        `invalid filter 'status=${status}': invalid value for state (${status}): must be one of ${STATES.slice(0, -1).join(', ')}, ${STATES.at(-1)}`,
      );
  for (const code of filters.get('exited') ?? [])
    if (!/^[+-]?\d+$/.test(code) || !Number.isSafeInteger(Number(code)))
      throw invalid(
        `invalid filter 'exited=${code}': strconv.Atoi: parsing "${code}": ${/^[+-]?\d+$/.test(code) ? 'value out of range' : 'invalid syntax'}`,
      );
  for (const health of filters.get('health') ?? [])
    if (!HEALTH.includes(health))
      throw invalid(
        `invalid filter 'health=${health}': invalid value for health (${health}): must be one of ${HEALTH.join(', ')}`,
      );
  const task = filters.get('is-task') ?? [];
  if (task.length > 1 || !task.every((value) => BOOLEANS.includes(value)))
    throw invalid(`invalid filter 'is-task=[${task.join(' ')}]'`);
  // The port layer lists containers in the order in which they were made; that decides among those of one millisecond.
  const sorted = [...containers].reverse().sort((a, b) => b.spec.createdAt.localeCompare(a.spec.createdAt));
  const places = new Map(sorted.map((container, place) => [container.spec.id, place]));
  const limits = (name: string): number[] =>
    (filters.get(name) ?? []).map((reference) => places.get(sources.exec.resolve(reference).spec.id) ?? -1);
  const before = limits('before');
  const since = limits('since');
  const showAll = options.all || (filters.get('status') ?? []).length > 0;
  const tests = anyOf(sources, filters);
  const passesPorts = portFilter(filters);
  const result = sorted.filter((container) => {
    const place = places.get(container.spec.id)!;
    if (!showAll && !sources.lives.isUp(container)) return false;
    if (before.some((limit) => place <= limit) || since.some((limit) => place >= limit)) return false;
    if (!(filters.get('label') ?? []).every((label) => hasLabel(recordOf(container).config.Labels, label)))
      return false;
    if (
      !(filters.get('annotation') ?? []).every((one) => hasLabel(recordOf(container).hostConfig.Annotations ?? {}, one))
    )
      return false;
    if (!passesPorts(listPorts(sources.views, container))) return false;
    return [...filters].every(([name, values]) => {
      const test = tests[name];
      return test === undefined || values.length === 0 || values.some((value) => test(container, value));
    });
  });
  return options.limit > 0 ? result.slice(0, options.limit) : result;
}

/** Filters that pass when any of their values does. */
function anyOf(sources: FilterSources, filters: Map<string, string[]>): Record<string, Test> {
  const names = sources.exec.list().map(({ spec }) => spec.name);
  const named = new Map((filters.get('name') ?? []).map((value) => [value, matchingNames(names, value)]));
  const ancestors = new Map((filters.get('ancestor') ?? []).map((value) => [value, descendants(sources, value)]));
  return {
    id: (container, value) => value !== '' && container.spec.id.startsWith(value),
    name: (container, value) => named.get(value)!.has(container.spec.name),
    status: (container, value) => dockerState(container, sources.lives.of(container)) === value,
    exited: (container, value) =>
      container.startedAt !== null && !sources.lives.isUp(container) && container.exitCode === Number(value),
    ancestor: (container, value) => ancestors.get(value)!.has(container.spec.imageId),
    network: (container, value) =>
      containerNetworks(sources.views, container).some(({ name, id }) => name === value || id.startsWith(value)),
    health: (container, value) => (sources.lives.of(container).health?.status ?? 'none') === value,
    'is-task': (_container, value) => value === 'false' || value === '0',
    volume: (container, value) =>
      recordOf(container).mounts.some(({ name, destination }) => destination === value || name === value),
  };
}

/**
 * The names that match a regular expression, with or without their slash, as in Docker.
 * @throws invalid for one that takes too long: unlike Go's, JavaScript's can take for ever
 */
function matchingNames(names: string[], value: string): Set<string> {
  let bare: RegExp;
  let whole: RegExp;
  try {
    const [, flags = '', text = value] = /^\(\?([ims]+)\)(.*)$/s.exec(value) ?? [];
    bare = new RegExp(text.replace(/^\//, ''), flags);
    whole = new RegExp(text, flags);
  } catch {
    return new Set();
  }
  const found = withinTime(NAME_MS, () => names.filter((name) => bare.test(name) || whole.test(`/${name}`)));
  if (found === undefined) throw invalid(`invalid filter 'name=${value}': the regular expression takes too long`);
  return new Set(found.value);
}

/**
 * `publish` looks at ports of the host, `expose` at ports of the container; any one of them is enough. A container that does not run has
 * none. @throws invalid for malformed ports
 */
function portFilter(filters: Map<string, string[]>): (ports: ListPort[]) => boolean {
  const ranges = (name: string): PortRange[] => (filters.get(name) ?? []).map((value) => portRange(name, value));
  const [published, exposed] = [ranges('publish'), ranges('expose')];
  if (published.length + exposed.length === 0) return () => true;
  const within = (list: PortRange[], port: number | undefined, type: string): boolean =>
    port !== undefined && list.some(({ first, last, protocol }) => port >= first && port <= last && protocol === type);
  return (ports) =>
    ports.some(
      ({ PublicPort, PrivatePort, Type }) => within(published, PublicPort, Type) || within(exposed, PrivatePort, Type),
    );
}

interface PortRange {
  first: number;
  last: number;
  protocol: string;
}

/** `80`, `80-90`, `53/udp`. @throws invalid in Docker's words */
function portRange(name: string, value: string): PortRange {
  const [range = '', protocol = 'tcp'] = value.split('/');
  const wrong = (why: string): Error => invalid(`error while looking up for ${name} ${value}: ${why}`);
  if (value.includes(':')) throw invalid(`filter for '${name}' should not contain ':': ${value}`);
  if (range === '') throw wrong('Empty string specified for ports.');
  const ends = range.includes('-')
    ? [range.slice(0, range.indexOf('-')), range.slice(range.indexOf('-') + 1)]
    : [range];
  const [first = 0, last = first] = ends.map((end) => {
    if (!/^\d+$/.test(end)) throw wrong(`strconv.ParseUint: parsing "${end}": invalid syntax`);
    if (Number(end) > 65_535) throw wrong(`strconv.ParseUint: parsing "${end}": value out of range`);
    return Number(end);
  });
  if (last < first) throw wrong(`Invalid range specified for the Port: ${range}`);
  return { first, last, protocol };
}

/** The ids of an image and of those committed on top of it. A pulled image has no ancestors, whatever layers it shares. */
function descendants({ images }: FilterSources, reference: string): Set<string> {
  let ancestor: Image;
  try {
    ancestor = images.resolve(reference);
  } catch (error) {
    if (isKind(error, 'notFound') || isKind(error, 'invalid')) return new Set();
    throw error;
  }
  const found = new Set([ancestor.id]);
  const all = images.list();
  const parents = new Map(all.map(({ id, parent }) => [id, parent]));
  for (const image of all) {
    const line: string[] = [];
    for (let one: string | null = image.id; one !== null; one = parents.get(one) ?? null) line.push(one);
    if (line.includes(ancestor.id)) found.add(image.id);
  }
  return found;
}
