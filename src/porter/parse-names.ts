/** Reads the table of names that an endpoint sends. */
import { isIP } from 'node:net';
import type { NamesOwner, NamesTable } from './names-table.js';
import { isAddress, isList, isText, record } from './parse-basics.js';

const MAX_NETWORKS = 10;
/** A container has no more names, links or the like on one network. */
const MAX_EACH = 1024;
/** In all: more containers than an engine can run. */
const MAX_OWNERS = 65_536;
/** As many as a resolver asks, and a few. */
const MAX_SERVERS = 16;

const isOptionalAddress = (value: unknown): value is string => value === '' || isAddress(value);

/** `127.0.0.1:5301`, `[::1]:5301`. */
function isServer(value: unknown): value is string {
  const [, six, four, port] = (isText(value) && /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(value)) || [];
  return isIP(six ?? '') === 6 || isIP(four ?? '') === 4 ? Number(port) > 0 && Number(port) <= 65_535 : false;
}

function parseOwner(raw: unknown): NamesOwner | null {
  const { addresses, names, links, dns, search } = record(raw) ?? {};
  if (!isList(addresses, isAddress, MAX_EACH) || !isList(names, isText, MAX_EACH)) return null;
  if (!isList(dns, isAddress, MAX_EACH) || !isList(search, isText, MAX_EACH)) return null;
  if (!Array.isArray(links) || links.length > MAX_EACH) return null;
  const read: NamesOwner['links'] = [];
  for (const link of links) {
    if (!Array.isArray(link) || link.length !== 2) return null;
    const [alias, at] = link as unknown[];
    if (!isText(alias) || !isList(at, isAddress, MAX_EACH)) return null;
    read.push([alias, at]);
  }
  return { addresses, names, links: read, dns, search };
}

/** The table, with only the fields that it may have; null if it is none. */
export function parseNames(raw: unknown): NamesTable | null {
  const { networks, servers } = record(raw) ?? {};
  if (!Array.isArray(networks) || networks.length > MAX_NETWORKS || !isList(servers, isServer, MAX_SERVERS))
    return null;
  const read: NamesTable['networks'] = [];
  let owners = 0;
  for (const network of networks.map(record)) {
    if (network === null || !Array.isArray(network.own)) return null;
    const { interface: name, gateway4, gateway6 } = network;
    if (!isText(name) || !/^eth\d$/.test(name) || !isOptionalAddress(gateway4) || !isOptionalAddress(gateway6))
      return null;
    owners += network.own.length;
    if (owners > MAX_OWNERS) return null;
    const own: NamesOwner[] = [];
    for (const one of network.own) {
      const owner = parseOwner(one);
      if (owner === null) return null;
      own.push(owner);
    }
    read.push({ interface: name, gateway4, gateway6, own });
  }
  return { networks: read, servers };
}
