/**
 * Neighbours of the endpoints: their namespaces have a permanent entry for each address of a VM that is on. So nobody's ARP answer counts,
 * and the first connection to a container has nothing to ask.
 */
import { isIP } from 'node:net';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { RuntimeNic } from '../runtime.js';
import { ipTry } from './ip.js';
import { findLink, indexOf, neighbourEntry } from './link-messages.js';
import { NAMESPACES } from './namespaces.js';
import { type Message, type Netlink, ROUTE } from './netlink.js';

const log = logger('switch');

/** An endpoint's namespace and the numbers of its cards in it, by port group. */
export interface EndpointCards {
  namespace: string;
  cards: Map<string, number>;
}

/** @returns what adds or removes what an endpoint knows of these cards */
function entries(verb: 'replace' | 'delete', { cards }: EndpointCards, nics: readonly RuntimeNic[]): Message[] {
  return nics.flatMap(({ connected, portGroup, mac, addresses }) => {
    const card = cards.get(portGroup);
    if (card === undefined || !connected) return [];
    return (addresses ?? [])
      .filter((address) => isIP(address) !== 0)
      .map((address) => neighbourEntry(card, address, verb === 'replace' ? mac : null));
  });
}

const FORGET_MS = 300;

/** Endpoints of a switch, by the moid of their VMs. */
export class Neighbours {
  private readonly endpoints = new Map<string, EndpointCards>();
  /** Cards that are gone but still known to the endpoints. */
  private gone: RuntimeNic[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly netlink: Netlink) {}

  /** Makes VMs' cards known to the endpoints on their networks. It does not matter if an endpoint is just going away. */
  async learn(nics: readonly RuntimeNic[]): Promise<void> {
    const gone = this.takeGone();
    await Promise.all(
      [...this.endpoints.values()].map((endpoint) =>
        // In this order: an address may have a new owner.
        this.tell(endpoint, [...entries('delete', endpoint, gone), ...entries('replace', endpoint, nics)]),
      ),
    );
  }

  /** These cards are gone. The endpoints learn that with the next change, or soon; nobody waits for it. */
  forget(nics: readonly RuntimeNic[]): void {
    this.gone.push(...nics);
    if (this.gone.length === 0) return;
    this.timer ??= setTimeout(() => void this.learn([]), FORGET_MS).unref();
  }

  private takeGone(): RuntimeNic[] {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { gone } = this;
    this.gone = [];
    return gone;
  }

  /** An endpoint has appeared: it gets entries for all VMs, in place of whatever it had. */
  async add(
    moid: string,
    namespace: string,
    own: readonly RuntimeNic[],
    others: () => readonly RuntimeNic[],
  ): Promise<void> {
    const connected = own.filter((nic) => nic.connected);
    const names = connected.map(({ index }) => `eth${index}`);
    await ipTry(
      namespace,
      names.map((card) => `neigh flush dev ${card} nud permanent`),
    );
    const found = await this.netlink.carryOut(`${NAMESPACES}/${namespace}`, ROUTE, names.map(findLink));
    const cards = new Map(connected.map(({ portGroup }, at) => [portGroup, indexOf(found[at] ?? [])]));
    const endpoint = { namespace, cards };
    // From here on it is told of new cards; present ones it is told of now.
    this.endpoints.set(moid, endpoint);
    await this.tell(endpoint, entries('replace', endpoint, others()));
  }

  remove(moid: string): void {
    this.endpoints.delete(moid);
  }

  private async tell({ namespace }: EndpointCards, messages: Message[]): Promise<void> {
    await this.netlink
      .carryOut(`${NAMESPACES}/${namespace}`, ROUTE, messages)
      .catch((error: unknown) =>
        log.debug({ namespace, err: messageOf(error) }, 'an endpoint could not be given its neighbours'),
      );
  }
}
