/** The table of names as it is to be now, and how one becomes another. Pure. */

import { isDeepStrictEqual } from 'node:util';
import { type ContainerInfo, type NetworkInfo, ranked } from '../../../port-layer/index.js';
import type { AddressPort, NamesChange, NamesContainer, NamesNetwork } from '../../gateway/index.js';
import { dnsNames } from './dns-names.js';

/** The network whose containers are not found by name, as in Docker. */
export const DEFAULT_NETWORK = 'bridge';

/** The whole table. */
export interface NamesTable {
  networks: NamesNetwork[];
  servers: AddressPort[];
  containers: Map<string, NamesContainer>;
  reported: string[];
}

/** What matters here of a network. */
export type NamedNetwork = Pick<NetworkInfo, 'id' | 'name' | 'kind' | 'predefined' | 'internal' | 'egress' | 'pools'>;

export function namesNetwork({ id, name, predefined, internal, egress }: NamedNetwork): NamesNetwork {
  const named = !(predefined && name === DEFAULT_NETWORK);
  return { id, name, named, forwards: !internal && egress === 'relay' };
}

/**
 * A container's part of the table; null if it has no address.
 * @param all finds what a link names
 * @param servers its own; null: it takes the machine's
 * @param lookups the only outside names that it may look up; null: all
 */
export function namesContainer(
  container: ContainerInfo,
  all: readonly ContainerInfo[],
  servers: AddressPort[] | null,
  lookups: string[] | null = null,
): NamesContainer | null {
  const { spec } = container;
  const members = ranked(container.endpoints).flatMap((endpoint) => {
    const { network, networkId, address, address6, aliases } = endpoint;
    const addresses = [address, address6].filter((one) => one !== '');
    if (addresses.length === 0) return [];
    const wish = spec.networks.find((one) => (one.networkId ?? networkId) === networkId && one.network === network);
    const links = (wish?.links ?? []).map((link) => linkOf(link, all));
    return [{ network: networkId, addresses, names: dnsNames(container, aliases), links }];
  });
  return members.length === 0 ? null : { id: spec.id, members, servers, lookups };
}

/** `container:alias`, or `container` alone. What names a container by its id leads to its name; what names none is left as it is. */
function linkOf(link: string, all: readonly ContainerInfo[]): [alias: string, name: string] {
  const [reference = '', alias = reference] = link.split(':');
  const name = reference.replace(/^\//, '');
  const target = all.find(({ spec }) => spec.id === name);
  return [alias, target?.spec.name ?? name];
}

/** What a server has to be told; null: nothing. @param before null: it knows nothing */
export function namesChange(before: NamesTable | null, now: NamesTable): NamesChange | null {
  if (before === null)
    return {
      whole: true,
      networks: now.networks,
      servers: now.servers,
      containers: [...now.containers.values()],
      gone: [],
      reported: now.reported,
    };
  const other = <K extends 'networks' | 'servers' | 'reported'>(key: K): NamesTable[K] | null =>
    isDeepStrictEqual(before[key], now[key]) ? null : now[key];
  const change: NamesChange = {
    whole: false,
    networks: other('networks'),
    servers: other('servers'),
    containers: [...now.containers.values()].filter((one) => !isDeepStrictEqual(before.containers.get(one.id), one)),
    gone: [...before.containers.keys()].filter((id) => !now.containers.has(id)),
    reported: other('reported'),
  };
  const { networks, servers, containers, gone, reported } = change;
  return (networks ?? servers ?? reported ?? (containers.length + gone.length > 0 || null)) ? change : null;
}
