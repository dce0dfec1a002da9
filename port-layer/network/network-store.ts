/** Where user-made networks are kept, and what is made for them on the host. */
import type { NetworkSpec } from './network-spec.js';

/** What is there. */
export interface KeptNetworks {
  networks: NetworkSpec[];
  /** The gateway's interface on each port group, by `segmentOf`. */
  interfaces: ReadonlyMap<string, string>;
}

export interface NetworkStore {
  /** What is kept, once it agrees with what is on the host. */
  load(): Promise<KeptNetworks>;
  /**
   * Makes what a network needs, and keeps it. All or nothing.
   * @param network its port group is the one that {@link portGroupOf} names
   * @param others the other user-made networks
   * @returns it as it is kept, and the gateway's interface
   * @throws unavailable
   */
  add(network: NetworkSpec, others: readonly NetworkSpec[]): Promise<{ network: NetworkSpec; interface: string }>;
  /** The opposite. @param others the other user-made networks */
  remove(network: NetworkSpec, others: readonly NetworkSpec[]): Promise<void>;
  /** The name of a new network's port group. */
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
