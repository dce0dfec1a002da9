/**
 * What the engine keeps with a container, as JSON in the port layer's annotations: read and checked here, once for each spec, and written
 * nowhere else. Every other module works on the typed {@link ContainerRecord}.
 */
import { z } from 'zod';
import type { ContainerInfo } from '../../../port-layer/index.js';
import { internal, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { dockerConfigSchema } from './config/docker-config.js';
import { hostConfigSchema } from './config/host-options.js';

const log = logger('docker');

/** A link to another container. `name`: the target's when the link was made. */
const linkSchema = z.object({ id: z.string(), name: z.string(), alias: z.string() });

const mountPointSchema = z.object({
  type: z.enum(['volume', 'tmpfs']),
  /** Name of the volume; '' for a tmpfs. */
  name: z.string(),
  destination: z.string(),
  driver: z.string(),
  mode: z.string(),
  rw: z.boolean(),
  /** Nobody has named the volume: it may be removed with the container. */
  anonymous: z.boolean(),
  subpath: z.string().optional(),
  /** It is empty, and the guest fills it. */
  fill: z.boolean().optional(),
  /** Options of a tmpfs, as for `--tmpfs`. */
  tmpfs: z.string().optional(),
  /** Rows of `ps` leave the source out, as Docker's do for volumes that come from the configuration alone. */
  unsourced: z.boolean().optional(),
});

const publishedPortSchema = z.object({
  id: z.number(),
  containerPort: z.number(),
  protocol: z.enum(['tcp', 'udp']),
  hostIp: z.string(),
  hostPort: z.number(),
  lastHostPort: z.number().optional(),
});

const restartSchema = z.object({
  count: z.number().int(),
  /** A user stopped or killed the container, and has not started it since. */
  stopped: z.boolean(),
});

export type Link = z.infer<typeof linkSchema>;
export type MountPoint = z.infer<typeof mountPointSchema>;
export type RestartRecord = z.infer<typeof restartSchema>;

/** One part of the record: the annotation that has it, how it is read and written, and what stands for it where there is none. */
interface Part<T> {
  key: string;
  /** @throws for a text that cannot be read */
  read(text: string): T;
  write(value: T): string;
  absent: T;
}

function json<T>(key: string, schema: z.ZodType<T>, absent: T): Part<T> {
  return { key, absent, read: (text) => schema.parse(JSON.parse(text)), write: (value) => JSON.stringify(value) };
}

const PARTS = {
  config: json('docker.config', dockerConfigSchema, dockerConfigSchema.parse({})),
  hostConfig: json('docker.hostConfig', hostConfigSchema, {}),
  /** Of earlier versions: which of several networks leads out. It stands with the network now. */
  gatewayPriority: json('docker.gatewayPriority', z.number(), 0),
  links: json('docker.links', z.array(linkSchema), []),
  mounts: json('docker.mounts', z.array(mountPointSchema), []),
  /** The ports of the current run, so that an endpoint that is restarted publishes the same ones. */
  ports: json('docker.ports', z.array(publishedPortSchema).nullable(), null),
  /** null: it was never restarted, and no user has stopped it. */
  restart: json('docker.restart', restartSchema.nullable(), null),
  /** Whether it is on the network `none`, if that is not what its NetworkMode says. */
  onNone: json('docker.onNone', z.boolean().nullable(), null),
  /** Of earlier versions, which could only note it: the network that the container has left and not joined again. */
  leftNetwork: {
    key: 'docker.left',
    read: (text) => text || null,
    write: (value) => value ?? '',
    absent: null,
  } satisfies Part<string | null>,
};

type Parts = typeof PARTS;
type Values = { [K in keyof Parts]: Parts[K] extends Part<infer T> ? T : never };

/** What is kept with a container. It is shared by everyone who asks for it, and frozen. */
export type ContainerRecord = Readonly<Values> & {
  /** Why a part could not be read; that part has the value that stands for an absent one. */
  readonly broken: string | null;
};

/** The port layer replaces a spec's annotations, it never changes them. */
const known = new WeakMap<object, ContainerRecord>();

/** A container's record. It never throws, so that one broken container does not hide the others: see {@link intactRecord}. */
export function recordOf({ spec }: Pick<ContainerInfo, 'spec'>): ContainerRecord {
  let record = known.get(spec.annotations);
  if (record === undefined) {
    record = frozen(read(spec.annotations));
    known.set(spec.annotations, record);
    if (record.broken !== null)
      log.warn({ container: spec.id, err: record.broken }, "a container's kept configuration cannot be read");
  }
  return record;
}

/** For what cannot be done without the whole record. @throws internal when a part of it could not be read */
export function intactRecord(container: Pick<ContainerInfo, 'spec'>): ContainerRecord {
  const record = recordOf(container);
  if (record.broken !== null)
    throw internal(`the configuration kept with container ${container.spec.id} cannot be read: ${record.broken}`);
  return record;
}

/** The annotations that keep these parts. */
export function annotationsOf(parts: Partial<Values>): Record<string, string> {
  const names = Object.keys(parts) as (keyof Parts)[];
  return Object.fromEntries(names.map((name) => [PARTS[name].key, (PARTS[name] as Part<unknown>).write(parts[name])]));
}

function read(annotations: Readonly<Record<string, string>>): ContainerRecord {
  const problems: string[] = [];
  const values = Object.entries(PARTS as Record<string, Part<unknown>>).map(([name, { key, read: parse, absent }]) => {
    const text = annotations[key];
    if (text === undefined) return [name, absent];
    try {
      return [name, parse(text)];
    } catch (error) {
      problems.push(`${key}: ${problem(error)}`);
      return [name, absent];
    }
  });
  const broken = problems.length === 0 ? null : problems.join('; ');
  return { ...(Object.fromEntries(values) as Values), broken };
}

function problem(error: unknown): string {
  const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
  if (issue === undefined) return messageOf(error);
  return issue.path.length === 0 ? issue.message : `${issue.path.join('.')}: ${issue.message}`;
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const member of Object.values(value)) frozen(member);
  return Object.freeze(value);
}
