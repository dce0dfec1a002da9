/** The filters of `docker ps`. */

import type { ContainerInfo } from '../../port-layer/types.js';
import { invalid } from '../../src/common/errors.js';
import { dockerConfig, dockerState } from './container-view.js';
import type { Engine } from './engine.js';
import { checkFilters } from './request.js';

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

type Test = (container: ContainerInfo, value: string) => boolean;

/** Newest first, filtered. @throws invalid for unknown filters and values; notFound for a `before` or `since` that is not there */
export function filterContainers(
  engine: Engine,
  containers: ContainerInfo[],
  filters: Map<string, string[]>,
  options: { all: boolean; limit: number },
): ContainerInfo[] {
  checkFilters(filters, KNOWN);
  for (const status of filters.get('status') ?? [])
    if (!STATES.includes(status))
      throw invalid(
        `invalid filter 'status=${status}': invalid value for state (${status}): must be one of ${STATES.slice(0, -1).join(', ')}, ${STATES.at(-1)}`,
      );
  for (const code of filters.get('exited') ?? [])
    if (!/^-?\d+$/.test(code))
      throw invalid(`invalid filter 'exited=${code}': strconv.Atoi: parsing "${code}": invalid syntax`);
  for (const health of filters.get('health') ?? [])
    if (!HEALTH.includes(health))
      throw invalid(
        `invalid filter 'health=${health}': invalid value for health (${health}): must be one of ${HEALTH.join(', ')}`,
      );
  for (const task of filters.get('is-task') ?? [])
    if (!BOOLEANS.includes(task)) throw invalid(`invalid filter 'is-task=[${task}]'`);
  // The port layer's order decides among those of one millisecond: it is that in which they were made.
  const sorted = [...containers].reverse().sort((a, b) => b.spec.createdAt.localeCompare(a.spec.createdAt));
  const places = new Map(sorted.map((container, place) => [container.spec.id, place]));
  const limits = (name: string): number[] =>
    (filters.get(name) ?? []).map((reference) => places.get(engine.portLayer.exec.resolve(reference).spec.id) ?? -1);
  const before = limits('before');
  const since = limits('since');
  const showAll = options.all || filters.has('status') || filters.has('exited');
  const tests = anyOf(engine);
  const result = sorted.filter((container) => {
    const place = places.get(container.spec.id)!;
    if (!showAll && !engine.isUp(container)) return false;
    if (before.some((limit) => place <= limit) || since.some((limit) => place >= limit)) return false;
    if (!(filters.get('label') ?? []).every((label) => hasLabel(container, label))) return false;
    return [...filters].every(([name, values]) => {
      const test = tests[name];
      return test === undefined || values.length === 0 || values.some((value) => test(container, value));
    });
  });
  return options.limit > 0 ? result.slice(0, options.limit) : result;
}

function hasLabel(container: ContainerInfo, label: string): boolean {
  const [key = '', ...rest] = label.split('=');
  const value = dockerConfig(container).Labels[key];
  return value !== undefined && (rest.length === 0 || value === rest.join('='));
}

/** Filters that pass when any of their values does. */
function anyOf(engine: Engine): Record<string, Test> {
  return {
    id: (container, value) => container.spec.id.startsWith(value),
    name: (container, value) => matchesName(container.spec.name, value),
    status: (container, value) => dockerState(container, engine.life(container)) === value,
    exited: (container, value) => container.state === 'exited' && container.exitCode === Number(value),
    ancestor: (container, value) => isAncestor(engine, container, value),
    network: (container, value) =>
      container.spec.networks.some(
        ({ network }) => network === value || engine.portLayer.network.resolve(network).id.startsWith(value),
      ),
    publish: (container, value) =>
      engine.ports.portsOf(container.spec.id).some((port) => portMatches(value, port.containerPort, port.protocol)),
    expose: (container, value) =>
      Object.keys(dockerConfig(container).ExposedPorts ?? {}).some((exposed) =>
        portMatches(value, Number(exposed.split('/')[0]), exposed.split('/')[1] ?? 'tcp'),
      ),
    health: (container, value) => (engine.life(container).health?.status ?? 'none') === value,
    'is-task': (_container, value) => value === 'false' || value === '0',
    volume: () => false,
  };
}

/** A regular expression on the name, with and without its slash, as Docker has it. */
function matchesName(name: string, value: string): boolean {
  try {
    const pattern = new RegExp(value.replace(/^\//, ''));
    return pattern.test(name) || new RegExp(value).test(`/${name}`);
  } catch {
    return name.includes(value);
  }
}

function portMatches(value: string, port: number, protocol: string): boolean {
  const match = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/.exec(value);
  if (match === null) throw invalid(`invalid filter: port '${value}'`);
  const first = Number(match[1]);
  return port >= first && port <= Number(match[2] ?? first) && protocol === (match[3] ?? 'tcp');
}

function isAncestor(engine: Engine, container: ContainerInfo, value: string): boolean {
  try {
    const ancestor = engine.images.resolve(value);
    if (ancestor.id === container.spec.imageId) return true;
    const image = engine.imageOf(container);
    const top = ancestor.chainIds.at(-1);
    return image !== undefined && top !== undefined && image.chainIds.includes(top);
  } catch {
    return container.spec.imageName === value;
  }
}
