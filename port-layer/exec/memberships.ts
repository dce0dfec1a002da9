/**
 * Puts containers on further networks and takes them off. A container that does not run only gets or loses a card of its VM; for one that
 * runs, see `live-cards.ts`.
 */
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { Attachment } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';
import { cardsFor, isThere } from '../network/endpoints.js';
import type { Members } from '../network/networks.js';
import { MAX_CARDS } from '../network/places.js';
import type { ConnectOptions, NetworkEndpoint, NetworkInfo, NetworkWish } from '../network/types.js';
import { changeCards, readCards } from './cards.js';
import type { Container } from './container.js';
import type { ExecContext } from './context.js';
import { keptSpec } from './kept-spec.js';
import { LiveCards, without } from './live-cards.js';
import { SPEC_KEY } from './vm-spec.js';
import { networkCards } from './volume-hardware.js';

const log = logger('exec');

/** See the file's head. */
export class Memberships implements Members {
  private readonly live: LiveCards;

  constructor(private readonly context: ExecContext) {
    this.live = new LiveCards(context);
  }

  /** See {@link LiveCards.resume}. */
  resume(container: Container, known: ReadonlySet<string>): Promise<void> {
    return container.exclusive(() => this.live.resume(container, known));
  }

  connect(reference: string, wanted: string, options: ConnectOptions): Promise<void> {
    const container = this.context.cache.resolve(reference);
    return this.alone(container, 'connect', async () => {
      const network = this.context.networks.resolve(wanted);
      const wish: NetworkWish = {
        ...options,
        network: network.name,
        ...(network.predefined ? {} : { networkId: network.id }),
      };
      checkAddresses(network, wish);
      const { networks } = container.spec;
      const at = networks.findIndex((one) => isOn(one, network));
      if (at >= 0 && container.running)
        throw new PortLayerError('network.alreadyOn', { container: container.spec.name, network: network.name });
      if (at < 0 && networks.length >= MAX_CARDS) throw new PortLayerError('network.tooMany', { most: MAX_CARDS });
      if (container.running) await this.live.plug(container, wish, network);
      else await this.addCard(container, wish, at);
    });
  }

  disconnect(reference: string, wanted: string): Promise<void> {
    const container = this.context.cache.resolve(reference);
    return this.alone(container, 'disconnect', async () => {
      const { found, name } = this.membershipOf(container, wanted);
      if (found === undefined) throw new PortLayerError('network.notOn', { container: container.id, network: name });
      if (container.running) await this.live.unplug(container, found, this.idOf(found));
      else await this.dropCard(container, found);
    });
  }

  /** A DHCP server has given a running container another address. */
  leaseChanged(container: Container, before: readonly NetworkEndpoint[]): void {
    container
      .exclusive(async () => {
        // One that is not connected yet has set what it was given by itself.
        if (container.running && container.channel !== null) await this.live.tellGuest(container, before);
      })
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'a container was not told of its new address'),
      );
  }

  async leave(attachment: Attachment): Promise<void> {
    const { cache, networks } = this.context;
    const elsewhere = networks.list()[0]!;
    // The others share it.
    if (isThere(elsewhere, attachment)) return;
    const there = cache
      .all()
      .filter(({ spec }) => spec.networks.some((wish) => isThere(networks.places.attachmentOf(wish), attachment)));
    await Promise.all(
      there.map((container) =>
        container.exclusive(async () => {
          if (container.running || container.leaving) return;
          const { client } = this.context;
          const cards = await readCards(client, container.machine);
          const affected = cards.filter((card) => isThere(card, attachment));
          if (affected.length === 0) return;
          await changeCards(this.context.client, container, (handle) => {
            for (const card of affected) handle.moveCard(card, elsewhere);
          });
        }),
      ),
    );
  }

  /** One after the other with everything else that changes the container, and not while its machine stands still. */
  private alone(container: Container, doing: 'connect' | 'disconnect', body: () => Promise<void>): Promise<void> {
    return container.exclusive(async () => {
      if (container.leaving)
        throw new PortLayerError('container.beingRemoved', { container: container.id, hinders: 'update' });
      if (container.paused || container.machine.suspended)
        throw new PortLayerError('network.paused', { container: container.id, doing });
      await body();
    });
  }

  /** A container can leave a network that does not exist any more. */
  private membershipOf({ spec }: Container, wanted: string): { found: NetworkWish | undefined; name: string } {
    try {
      const network = this.context.networks.resolve(wanted);
      return { found: spec.networks.find((one) => isOn(one, network)), name: network.name };
    } catch (error) {
      const found = spec.networks.find((one) => one.network === wanted || one.networkId === wanted);
      if (found === undefined || !isKind(error, 'notFound')) throw error;
      return { found, name: found.network };
    }
  }

  // --- a container that does not run ---------------------------------------------------------------------------------

  /** @param at its place in the list if it is on the network already: then only its wishes change */
  private async addCard(container: Container, wish: NetworkWish, at: number): Promise<void> {
    const { networks } = this.context;
    const before = container.spec.networks;
    const list = at < 0 ? [...before, wish] : before.map((one, place) => (place === at ? wish : one));
    const spec = networks.places.settle({ ...container.spec, networks: list });
    const others = at >= 0 && before[at]!.mac !== wish.mac;
    const card = others ? await this.cardOf(container, before[at]!) : undefined;
    await changeCards(this.context.client, container, (handle) => {
      handle.key(SPEC_KEY, keptSpec(spec));
      if (card !== undefined) handle.removeCard(card.key);
      if (at < 0 || card !== undefined) handle.addCard({ ...networks.places.attachmentOf(wish), mac: wish.mac });
    });
    container.spec = spec;
  }

  private async dropCard(container: Container, wish: NetworkWish): Promise<void> {
    const spec = without(container.spec, wish);
    const card = await this.cardOf(container, wish);
    await changeCards(this.context.client, container, (handle) => {
      handle.key(SPEC_KEY, keptSpec(spec));
      if (card !== undefined) handle.removeCard(card.key);
    });
    container.spec = spec;
    this.context.networks.places.leave(container.id, this.idOf(wish));
  }

  // --- both ------------------------------------------------------------------------------------------

  private async cardOf(container: Container, wish: NetworkWish): Promise<{ key: number } | undefined> {
    const { networks, client } = this.context;
    const all = container.spec.networks;
    const places = all.map((one) => ({ ...networks.places.attachmentOf(one), mac: one.mac }));
    const cards = networkCards(await readCards(client, container.machine), container.spec);
    return cardsFor(places, cards)[all.indexOf(wish)];
  }

  private idOf({ network, networkId }: NetworkWish): string {
    return networkId ?? this.context.networks.list().find(({ name }) => name === network)?.id ?? '';
  }
}

/** One made anew under the same name takes the place of the old one. */
function isOn(wish: NetworkWish, { id, name }: NetworkInfo): boolean {
  return wish.networkId === id || wish.network === name || wish.network === id;
}

/** @throws invalid for addresses that nobody can ask for on that network */
function checkAddresses(network: NetworkInfo, { ipv4, ipv6 }: NetworkWish): void {
  for (const address of [ipv4, ipv6]) {
    if (!address) continue;
    const refuse = (why: 'predefined' | 'chosenSubnets'): never => {
      throw new PortLayerError('network.addressRefused', { network: network.name, address, why });
    };
    if (network.predefined && network.kind === 'bridge') refuse('predefined');
    if (!network.predefined && !(network.asked ?? []).some(({ subnet }) => subnet)) refuse('chosenSubnets');
  }
}
