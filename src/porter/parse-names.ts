/** Reads what an endpoint says of names. */
import type { AddressPort } from './messages.js';
import type { NamesChange, NamesContainer, NamesMember, NamesNetwork } from './names-table.js';
import { isAddress, isList, isPort, isText, record } from './parse-basics.js';

const MAX_NETWORKS = 1024;
/** A container has no more networks, names, links or servers. */
const MAX_EACH = 1024;
/** More containers than an engine can run. */
const MAX_CONTAINERS = 65_536;
/** More names than a policy can have. */
const MAX_LOOKUPS = 2 ** 18;

/** A list read item by item; null if one of them cannot be read, or there are too many. */
function list<T>(raw: unknown, most: number, read: (one: unknown) => T | null): T[] | null {
  if (!Array.isArray(raw) || raw.length > most) return null;
  const items: T[] = [];
  for (const one of raw as unknown[]) {
    const item = read(one);
    if (item === null) return null;
    items.push(item);
  }
  return items;
}

/** Null stays null: what it stands for is left as it is. Undefined: it cannot be read. */
function optional<T>(raw: unknown, read: (raw: unknown) => T | null): T | null | undefined {
  return raw === null ? null : (read(raw) ?? undefined);
}

function parseServer(raw: unknown): AddressPort | null {
  const { address, port } = record(raw) ?? {};
  return isAddress(address) && isPort(port) && port > 0 ? { address, port } : null;
}

function parseNetwork(raw: unknown): NamesNetwork | null {
  const { id, name, named, forwards } = record(raw) ?? {};
  if (!isText(id) || !isText(name) || typeof named !== 'boolean' || typeof forwards !== 'boolean') return null;
  return { id, name, named, forwards };
}

function parseLink(raw: unknown): [alias: string, name: string] | null {
  if (!isList(raw, isText, 2)) return null;
  const [alias, name] = raw;
  return alias === undefined || name === undefined ? null : [alias, name];
}

function parseMember(raw: unknown): NamesMember | null {
  const { network, addresses, names, links } = record(raw) ?? {};
  if (!isText(network) || !isList(addresses, isAddress, MAX_EACH) || !isList(names, isText, MAX_EACH)) return null;
  const read = list(links, MAX_EACH, parseLink);
  return read === null ? null : { network, addresses, names, links: read };
}

function parseContainer(raw: unknown): NamesContainer | null {
  const { id, members, servers, lookups } = record(raw) ?? {};
  const read = list(members, MAX_EACH, parseMember);
  const own = optional(servers, (one) => list(one, MAX_EACH, parseServer));
  const names = optional(lookups, (one) => (isList(one, isText, MAX_LOOKUPS) ? one : null));
  if (!isText(id) || read === null || own === undefined || names === undefined) return null;
  return { id, members: read, servers: own, lookups: names };
}

/** The change, with only the fields that it may have; null if it is none. */
export function parseNames(raw: unknown): NamesChange | null {
  const { whole, networks, servers, containers, gone, reported } = record(raw) ?? {};
  const read = {
    networks: optional(networks, (one) => list(one, MAX_NETWORKS, parseNetwork)),
    servers: optional(servers, (one) => list(one, MAX_EACH, parseServer)),
    containers: list(containers, MAX_CONTAINERS, parseContainer),
    reported: optional(reported, (one) => (isList(one, isText, MAX_CONTAINERS) ? one : null)),
  };
  if (typeof whole !== 'boolean' || !isList(gone, isText, MAX_CONTAINERS)) return null;
  if (read.networks === undefined || read.servers === undefined || read.reported === undefined) return null;
  return read.containers === null
    ? null
    : {
        whole,
        networks: read.networks,
        servers: read.servers,
        containers: read.containers,
        gone,
        reported: read.reported,
      };
}
