/**
 * What the endpoints' namespaces know of the cards beside them: a permanent neighbour entry for each address of a VM that is on. Nobody's
 * ARP answer counts then, and the first connection to a container asks for nothing.
 */
import { isIP } from 'node:net';
import type { RuntimeNic } from '../runtime.js';
import { ipTry, type Step } from './ip.js';

/** An endpoint's namespace and the names of its cards, by port group. */
export interface EndpointCards {
  namespace: string;
  cards: Map<string, string>;
}

/** @returns the commands that add or remove what an endpoint knows of these cards */
function commands(verb: 'replace' | 'delete', { cards }: EndpointCards, nics: readonly RuntimeNic[]): string[] {
  return nics.flatMap(({ connected, portGroup, mac, addresses }) => {
    const card = cards.get(portGroup);
    if (card === undefined || !connected) return [];
    return (addresses ?? [])
      .filter((address) => isIP(address) !== 0)
      .map((address) =>
        verb === 'replace'
          ? `neigh replace ${address} lladdr ${mac} dev ${card} nud permanent`
          : `neigh delete ${address} dev ${card}`,
      );
  });
}

/** Endpoints of a switch, by the moid of their VMs. */
export class Neighbours {
  private readonly endpoints = new Map<string, EndpointCards>();

  /** Steps that make VMs' cards known to the endpoints on their networks. That an endpoint is just going does not matter. */
  steps(verb: 'replace' | 'delete', nics: readonly RuntimeNic[]): Step[] {
    return [...this.endpoints.values()].map((endpoint) => ({
      program: 'ip' as const,
      namespace: endpoint.namespace,
      commands: commands(verb, endpoint, nics),
      soft: true,
    }));
  }

  /** An endpoint is there, with what is known of all VMs; nothing of what it knew before stays. */
  async add(moid: string, namespace: string, own: readonly RuntimeNic[], others: readonly RuntimeNic[]): Promise<void> {
    const cards = new Map(own.filter((nic) => nic.connected).map((nic) => [nic.portGroup, `eth${nic.index}`]));
    const endpoint = { namespace, cards };
    this.endpoints.set(moid, endpoint);
    const flush = [...cards.values()].map((card) => `neigh flush dev ${card} nud permanent`);
    await ipTry(namespace, [...flush, ...commands('replace', endpoint, others)]);
  }

  remove(moid: string): void {
    this.endpoints.delete(moid);
  }
}
