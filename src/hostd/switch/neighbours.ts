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

const FORGET_MS = 300;

/** Endpoints of a switch, by the moid of their VMs. */
export class Neighbours {
  private readonly endpoints = new Map<string, EndpointCards>();
  /** Cards that are gone, and still known to the endpoints. */
  private gone: RuntimeNic[] = [];
  private timer: NodeJS.Timeout | undefined;

  /** Steps that make VMs' cards known to the endpoints on their networks. That an endpoint is just going does not matter. */
  steps(nics: readonly RuntimeNic[]): Step[] {
    const gone = this.takeGone();
    return [...this.endpoints.values()].map((endpoint) => ({
      program: 'ip' as const,
      namespace: endpoint.namespace,
      // In this order: an address may have a new owner.
      commands: [...commands('delete', endpoint, gone), ...commands('replace', endpoint, nics)],
      soft: true,
    }));
  }

  /** These cards are gone, which the endpoints learn with the next news, or soon: nobody waits for it. */
  forget(nics: readonly RuntimeNic[]): void {
    this.gone.push(...nics);
    if (this.gone.length === 0) return;
    this.timer ??= setTimeout(() => {
      const gone = this.takeGone();
      for (const endpoint of this.endpoints.values())
        void ipTry(endpoint.namespace, commands('delete', endpoint, gone));
    }, FORGET_MS).unref();
  }

  private takeGone(): RuntimeNic[] {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { gone } = this;
    this.gone = [];
    return gone;
  }

  /** An endpoint is there, with what is known of all VMs; nothing of what it knew before stays. */
  async add(
    moid: string,
    namespace: string,
    own: readonly RuntimeNic[],
    others: () => readonly RuntimeNic[],
  ): Promise<void> {
    const cards = new Map(own.filter((nic) => nic.connected).map((nic) => [nic.portGroup, `eth${nic.index}`]));
    const endpoint = { namespace, cards };
    await ipTry(
      namespace,
      [...cards.values()].map((card) => `neigh flush dev ${card} nud permanent`),
    );
    // From here on it is told of who comes; who is there already it is told now.
    this.endpoints.set(moid, endpoint);
    await ipTry(namespace, commands('replace', endpoint, others()));
  }

  remove(moid: string): void {
    this.endpoints.delete(moid);
  }
}
