/** Where user-made networks are kept, and what is made for them on the host. */
import type { NetworkSpec } from './network-spec.js';

/** What is there. */
export interface KeptNetworks {
  networks: NetworkSpec[];
  /** The gateway's interface on each port group. */
  interfaces: ReadonlyMap<string, string>;
}

export interface NetworkStore {
  /** What is kept, once it agrees with what is on the host. */
  load(): Promise<KeptNetworks>;
  /** Makes what a network needs, and keeps it. All or nothing. @param all with it @returns the gateway's interface @throws unavailable */
  add(network: NetworkSpec, all: readonly NetworkSpec[]): Promise<string>;
  /** The opposite. @param all without it */
  remove(network: NetworkSpec, all: readonly NetworkSpec[]): Promise<void>;
  /** The port group of a new network. */
  portGroupOf(network: { id: string; name: string }): string;
}

/** Reads what is kept; what is no network is left out. */
export function readNetworks(text: string | undefined): NetworkSpec[] {
  try {
    const list: unknown = JSON.parse(text ?? '[]');
    return Array.isArray(list) ? list.filter(isNetwork) : [];
  } catch {
    return [];
  }
}

function isNetwork(one: unknown): one is NetworkSpec {
  const { id, name, portGroup, pools } = (one ?? {}) as Partial<NetworkSpec>;
  return (
    typeof id === 'string' &&
    /^[0-9a-f]{64}$/.test(id) &&
    typeof name === 'string' &&
    typeof portGroup === 'string' &&
    Array.isArray(pools) &&
    pools.every((pool) => typeof pool?.subnet === 'string' && typeof pool.gateway === 'string')
  );
}
