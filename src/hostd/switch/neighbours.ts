/**
 * Neighbours of the endpoints: their namespaces have a permanent entry for each address of a powered-on VM. So nobody can forge an ARP
 * answer, and the first connection to a container needs no ARP request.
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

/** An endpoint's namespace, and the numbers of its cards in there, by port group. */
export interface EndpointCards {
  namespace: string;
  cards: Map<string, number>;
}

/** @returns the messages that add or remove what an endpoint knows of these cards */
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

  /** Makes VMs' cards known to the endpoints on their networks. An endpoint that is just going away does no harm. */
  async learn(nics: readonly RuntimeNic[]): Promise<void> {
    const gone = this.takeGone();
    await Promise.all(
      [...this.endpoints.values()].map((endpoint) =>
        // Removals come first: an address may have a new owner.
        this.tell(endpoint, [...entries('delete', endpoint, gone), ...entries('replace', endpoint, nics)]),
      ),
    );
  }

  /** Takes back cards that are gone. The endpoints learn of it with the next change, or soon; nobody waits for it. */
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

  /** Adds an endpoint: it gets entries for all VMs, replacing whatever it had. */
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
    const cards = new Map<string, number>();
    const endpoint = { namespace, cards };
    await this.find(endpoint, connected);
    // From here on it is told of new cards; now it is told of the present ones.
    this.endpoints.set(moid, endpoint);
    await this.tell(endpoint, entries('replace', endpoint, others()));
  }

  /** Adds a new card of an endpoint: it gets entries for all VMs on its network. */
  async addCard(moid: string, namespace: string, own: RuntimeNic, others: () => readonly RuntimeNic[]): Promise<void> {
    const endpoint = this.endpoints.get(moid) ?? { namespace, cards: new Map<string, number>() };
    this.endpoints.set(moid, endpoint);
    await this.find(endpoint, [own]);
    const there = others().filter(({ portGroup }) => portGroup === own.portGroup);
    await this.tell(endpoint, entries('replace', endpoint, there));
  }

  /** Forgets a card of an endpoint, which takes its entries with it. */
  removeCard(moid: string, { portGroup }: RuntimeNic): void {
    this.endpoints.get(moid)?.cards.delete(portGroup);
  }

  /** Looks up the numbers of an endpoint's cards. */
  private async find({ namespace, cards }: EndpointCards, own: readonly RuntimeNic[]): Promise<void> {
    const names = own.map(({ index }) => findLink(`eth${index}`));
    const found = await this.netlink.carryOut(`${NAMESPACES}/${namespace}`, ROUTE, names);
    for (const [at, { portGroup }] of own.entries()) cards.set(portGroup, indexOf(found[at] ?? []));
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
