/**
 * The answers of the Engine API, field by field: names and types from the OpenAPI document of 1.51, and the differences
 * of other versions (moby's version history, its routers, and the answers of Docker Engine 28.5.2 from 1.24 to 1.51).
 */
import { readFileSync } from 'node:fs';

/** A type's name, an array of one shape, `{"*": shape}` for a map, or an object with its fields. */
type Shape = string | [Shape] | { [field: string]: Shape };

/** Shapes of answers by kind: `inspect`, `list`, `exec`, `info`, … */
export const ENGINE_API = JSON.parse(
  readFileSync(new URL('./engine-api.generated.json', import.meta.url), 'utf8'),
) as Record<string, Shape>;

interface Change {
  /** Answers that have the field. */
  of: string[];
  /** The object that contains it, by its path in the answer: `[]` for list items, `*` for map values. */
  at: string[];
  fields: Record<string, Shape>;
  /** Versions that have it: from (inclusive), up to (exclusive). */
  since?: string;
  before?: string;
}

const text = (...names: string[]): Record<string, Shape> => Object.fromEntries(names.map((name) => [name, 'string']));
const flags = (...names: string[]): Record<string, Shape> => Object.fromEntries(names.map((name) => [name, 'boolean']));
const LIST = ['[]'];
const usage = (of: string): Shape => ({
  ActiveCount: 'number',
  Items: (ENGINE_API.df as Record<string, Shape>)[of]!,
  Reclaimable: 'number',
  TotalCount: 'number',
  TotalSize: 'number',
});

const CHANGES: Change[] = [
  {
    of: ['inspect'],
    at: ['NetworkSettings'],
    fields: {
      ...text(
        'Bridge',
        'EndpointID',
        'Gateway',
        'GlobalIPv6Address',
        'IPAddress',
        'IPv6Gateway',
        'LinkLocalIPv6Address',
      ),
      ...text('MacAddress'),
      ...flags('HairpinMode'),
      GlobalIPv6PrefixLen: 'number',
      IPPrefixLen: 'number',
      LinkLocalIPv6PrefixLen: 'number',
      SecondaryIPAddresses: 'any',
      SecondaryIPv6Addresses: 'any',
    },
    before: '1.52',
  },
  { of: ['inspect'], at: ['Config'], fields: text('MacAddress'), before: '1.52' },
  { of: ['inspect'], at: ['HostConfig'], fields: { KernelMemoryTCP: 'number' }, before: '1.52' },
  { of: ['inspect'], at: [], fields: { Storage: { RootFS: { Snapshot: { Name: 'string' } } } }, since: '1.52' },
  { of: ['inspect'], at: ['HostConfig'], fields: { Umask: 'number' }, since: '1.56' },
  { of: ['list'], at: LIST, fields: { Health: { Status: 'string', FailingStreak: 'number' } }, since: '1.52' },
  {
    of: ['df'],
    at: ['Containers', '[]'],
    fields: { Health: { Status: 'string', FailingStreak: 'number' } },
    since: '1.52',
  },
  { of: ['images'], at: LIST, fields: { VirtualSize: 'number' }, before: '1.44' },
  { of: ['df'], at: ['Images', '[]'], fields: { VirtualSize: 'number' }, before: '1.44' },
  { of: ['image'], at: [], fields: { VirtualSize: 'number' }, before: '1.44' },
  { of: ['image'], at: [], fields: { ContainerConfig: 'any' }, before: '1.45' },
  {
    of: ['image'],
    at: ['Config'],
    fields: {
      ...text('Hostname', 'Domainname', 'Image'),
      ...flags('AttachStdin', 'AttachStdout', 'AttachStderr', 'Tty', 'OpenStdin', 'StdinOnce'),
    },
    before: '1.50',
  },
  { of: ['image'], at: [], fields: { Identity: { Pull: [{ Repository: 'string' }] } }, since: '1.53' },
  { of: ['info'], at: [], fields: flags('KernelMemory'), before: '1.42' },
  { of: ['info'], at: [], fields: flags('KernelMemoryTCP'), before: '1.52' },
  { of: ['info'], at: [], fields: flags('BridgeNfIptables', 'BridgeNfIp6tables'), before: '1.50' },
  {
    of: ['info'],
    at: ['RegistryConfig'],
    fields: { AllowNondistributableArtifactsCIDRs: 'any', AllowNondistributableArtifactsHostnames: 'any' },
    before: '1.47',
  },
  { of: ['info'], at: [], fields: { Containerd: 'any' }, since: '1.46' },
  { of: ['info'], at: [], fields: { FirewallBackend: 'any' }, since: '1.49' },
  { of: ['info'], at: [], fields: { DiscoveredDevices: 'any' }, since: '1.50' },
  { of: ['info'], at: [], fields: { NRI: 'any' }, since: '1.53' },
  {
    of: ['df'],
    at: [],
    fields: ENGINE_API.df as Record<string, Shape>,
    before: '1.53',
  },
  {
    of: ['df'],
    at: [],
    fields: {
      ImageUsage: usage('Images'),
      ContainerUsage: usage('Containers'),
      VolumeUsage: usage('Volumes'),
      BuildCacheUsage: usage('BuildCache'),
    },
    since: '1.52',
  },
];

/** The shapes of a version's answers. */
export function engineApi(version: string): Record<string, Shape> {
  const shapes = structuredClone(ENGINE_API);
  const minor = (text: string): number => Number(text.split('.')[1]);
  for (const { of, at, fields, since = '1.0', before = '1.999' } of CHANGES) {
    const has = minor(version) >= minor(since) && minor(version) < minor(before);
    for (const what of of) {
      let object = shapes[what] as Record<string, Shape> | [Shape];
      for (const step of at)
        object = (step === '[]' ? (object as [Shape])[0] : (object as Record<string, Shape>)[step]) as typeof object;
      if (has)
        for (const [name, shape] of Object.entries(fields))
          (object as Record<string, Shape>)[name] ??= structuredClone(shape);
      else for (const name of Object.keys(fields)) delete (object as Record<string, Shape>)[name];
    }
  }
  return shapes;
}

/** How an answer differs from its shape: fields of the wrong type, unknown and missing ones, as paths. */
export interface Deviations {
  wrong: string[];
  unknown: string[];
  missing: string[];
}

/** Compares. `null` matches every shape except a plain type, as Go writes empty values so. */
export function deviations(answer: unknown, shape: Shape, path: string): Deviations {
  const found: Deviations = { wrong: [], unknown: [], missing: [] };
  compare(answer, shape, path, found);
  return {
    wrong: [...new Set(found.wrong)],
    unknown: [...new Set(found.unknown)],
    missing: [...new Set(found.missing)],
  };
}

function compare(value: unknown, shape: Shape, path: string, found: Deviations): void {
  if (shape === 'any') return;
  if (typeof shape === 'string') {
    const type = value === null ? 'null' : typeof value;
    const fits = type === shape || (type === 'null' && shape !== 'string');
    if (!fits) found.wrong.push(`${path}: ${type}, not ${shape}`);
  } else if (Array.isArray(shape)) {
    if (value === null) return;
    if (!Array.isArray(value)) found.wrong.push(`${path}: no array`);
    else for (const item of value) compare(item, shape[0], `${path}[]`, found);
  } else {
    if (value === null) return;
    if (typeof value !== 'object' || Array.isArray(value)) {
      found.wrong.push(`${path}: no object`);
      return;
    }
    for (const [field, inner] of Object.entries(value)) {
      const known = shape['*'] ?? (Object.hasOwn(shape, field) ? shape[field] : undefined);
      if (known === undefined) found.unknown.push(`${path}.${field}`);
      else compare(inner, known, `${path}.${shape['*'] === undefined ? field : '*'}`, found);
    }
    for (const field of Object.keys(shape))
      if (field !== '*' && !Object.hasOwn(value, field)) found.missing.push(`${path}.${field}`);
  }
}
