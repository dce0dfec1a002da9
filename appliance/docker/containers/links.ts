/**
 * `--link`: puts the address and configuration of another container into a container's hosts file and environment, as Docker does on its
 * default bridge network. Both are as they were when the container was started.
 */
import { type ContainerInfo, type ExecService, type Links, mainEndpoint } from '../../../port-layer/index.js';
import { conflict, invalid, isKind } from '../../../src/common/errors.js';
import { shortId } from '../../../src/common/ids.js';
import { isUserDefined } from '../networks/endpoint-settings.js';
import type { CreateBody } from './config/create-body.js';
import { annotationsOf, type Link, recordOf } from './container-record.js';

const MAX_LINKS = 100;
/** So many consecutive ports are also given as a range. */
const RANGE = 3;
/** Variables that are not passed on, because every container has its own. */
const OWN_VARIABLES = new Set(['HOME', 'PATH']);

/** `name`, `name:alias`, or what `inspect` shows: `/name:/container/alias`. @throws invalid in Docker's words */
function parseLink(text: string): { reference: string; alias: string } {
  if (text === '') throw invalid('empty string specified for links');
  const [reference = '', alias = reference, ...more] = text.split(':');
  if (more.length > 0 || reference === '' || alias === '') throw invalid(`bad format for links: ${text}`);
  return { reference: reference.replace(/^\//, ''), alias: alias.split('/').at(-1)! };
}

/** The links of a new container. @throws invalid for a target that does not exist */
export function wantedLinks(request: CreateBody, exec: Pick<ExecService, 'resolve'>): Link[] {
  // On a network of its own choice, a container's links stand with the network.
  if (isUserDefined(request.HostConfig?.NetworkMode ?? '')) return [];
  const wanted = request.HostConfig?.Links ?? [];
  if (wanted.length === 0) return [];
  if (wanted.length > MAX_LINKS) throw invalid(`too many links: ${wanted.length}`);
  if (request.HostConfig?.NetworkMode === 'none') throw invalid('conflicting options: links without a network');
  return wanted.map((text): Link => {
    const { reference, alias } = parseLink(text);
    if (!/^[A-Za-z0-9_.-]+$/.test(alias)) throw invalid(`bad format for links: ${text}`);
    try {
      const { spec } = exec.resolve(reference);
      return { id: spec.id, name: spec.name, alias };
    } catch (error) {
      if (!isKind(error, 'notFound')) throw error;
      throw invalid(`could not get container for ${reference}: No such container: ${reference}`);
    }
  });
}

/** The annotations that take a link away; null when the container has no link of that alias. */
export function withoutLink(container: ContainerInfo, alias: string): Record<string, string> | null {
  const { links } = recordOf(container);
  const left = links.filter((link) => link.alias !== alias);
  return left.length === links.length ? null : annotationsOf({ links: left });
}

/** HostConfig.Links as `inspect` shows them: `/target:/container/alias`. */
export function linksView(container: ContainerInfo, all: ContainerInfo[]): string[] | null {
  const links = recordOf(container).links.map(({ id, name, alias }) => {
    const target = all.find(({ spec }) => spec.id === id)?.spec.name ?? name;
    return `/${target}:/${container.spec.name}/${alias}`;
  });
  return links.length === 0 ? null : links;
}

/** The names that other containers' links give to each container, by its id: `/container/alias`. */
export function linkNames(all: ContainerInfo[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const other of all)
    for (const { id, alias } of recordOf(other).links) {
      const known = names.get(id);
      const name = `/${other.spec.name}/${alias}`;
      if (known === undefined) names.set(id, [name]);
      else known.push(name);
    }
  return names;
}

/** The links for a container's next run; undefined without any. @throws conflict when a target does not run */
export function resolveLinks(container: ContainerInfo, all: ContainerInfo[]): Links | undefined {
  const { links } = recordOf(container);
  if (links.length === 0) return undefined;
  const result: Links = { hosts: [], env: [] };
  for (const { id, name, alias } of links) {
    const target = all.find(({ spec }) => spec.id === id);
    const address = mainEndpoint(target?.endpoints ?? [])?.address ?? '';
    if (target === undefined || target.state !== 'running' || address === '')
      throw conflict(
        `Cannot link to a non running container: /${target?.spec.name ?? name} AS /${container.spec.name}/${alias}`,
      );
    const { spec } = target;
    const names = [alias, spec.hostname || shortId(id), ...(alias === spec.name ? [] : [spec.name])];
    result.hosts.push({ address, names });
    result.env.push(...linkEnv(target, address, alias, container.spec.name));
  }
  return result;
}

interface Port {
  number: number;
  protocol: string;
}

function linkEnv(target: ContainerInfo, address: string, alias: string, parent: string): string[] {
  const { ExposedPorts, Env } = recordOf(target).config;
  const prefix = alias.toUpperCase().replaceAll('-', '_');
  const ports = Object.keys(ExposedPorts ?? {})
    .map((text): Port => ({ number: Number.parseInt(text, 10), protocol: text.split('/')[1] ?? 'tcp' }))
    .sort((a, b) => Number(b.protocol === 'tcp') - Number(a.protocol === 'tcp') || a.number - b.number);
  const url = ({ number, protocol }: Port): string => `${protocol}://${address}:${number}`;
  const variables = ports.slice(0, 1).map((port) => `${prefix}_PORT=${url(port)}`);
  for (const run of contiguous(ports).filter(({ length }) => length >= RANGE)) {
    const [first, last] = [run[0]!, run.at(-1)!];
    const name = `${prefix}_PORT_${first.number}_${first.protocol.toUpperCase()}`;
    variables.push(
      `${name}_START=${url(first)}`,
      `${name}_PORT_START=${first.number}`,
      `${name}_END=${url(last)}`,
      `${name}_PORT_END=${last.number}`,
    );
  }
  for (const port of ports) {
    const name = `${prefix}_PORT_${port.number}_${port.protocol.toUpperCase()}`;
    variables.push(
      `${name}=${url(port)}`,
      `${name}_ADDR=${address}`,
      `${name}_PORT=${port.number}`,
      `${name}_PROTO=${port.protocol}`,
    );
  }
  variables.push(`${prefix}_NAME=/${parent}/${alias}`);
  for (const entry of Env)
    if (entry.includes('=') && !OWN_VARIABLES.has(entry.split('=', 1)[0]!)) variables.push(`${prefix}_ENV_${entry}`);
  return variables;
}

/** Groups consecutive ports of the same protocol. */
function contiguous(ports: Port[]): Port[][] {
  const runs: Port[][] = [];
  for (const port of ports) {
    const before = runs.at(-1)?.at(-1);
    if (before?.protocol === port.protocol && before.number + 1 === port.number) runs.at(-1)!.push(port);
    else runs.push([port]);
  }
  return runs;
}
