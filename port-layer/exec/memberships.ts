/**
 * Puts containers on further networks and takes them off. A container that does not run only gets or loses a card of its VM. For one that
 * runs, the card is plugged in or out, and then its guest is told; whatever fails, the container is as it was before.
 */
import { randomBytes } from 'node:crypto';
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { Attachment } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';
import { cardsFor, isThere, mainEndpoint, wayOut4, wayOut6 } from '../network/endpoints.js';
import type { Members } from '../network/networks.js';
import { MAX_CARDS } from '../network/places.js';
import type { ConnectOptions, NetworkEndpoint, NetworkInfo, NetworkWish } from '../network/types.js';
import type { Container } from './container.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import { change, type Handle } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { cardSettings, hostnameOf, leasedWayOut, networkFiles, serversOf } from './program-spec.js';
import { currentRecord, RUN_KEY } from './run-record.js';
import { leased, readCards } from './start.js';
import { ADDRESSES_KEY, addressesValue, SPEC_KEY, trustKeys } from './vm-spec.js';

const log = logger('exec');

/** See the file's head. */
export class Memberships implements Members {
  constructor(private readonly context: ExecContext) {}

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
      if (container.running) await this.plug(container, wish, network);
      else await this.addCard(container, wish, at);
    });
  }

  disconnect(reference: string, wanted: string): Promise<void> {
    const container = this.context.cache.resolve(reference);
    return this.alone(container, 'disconnect', async () => {
      const { found, name } = this.membershipOf(container, wanted);
      if (found === undefined) throw new PortLayerError('network.notOn', { container: container.id, network: name });
      if (container.running) await this.unplug(container, found);
      else await this.dropCard(container, found);
    });
  }

  /** A DHCP server has given a running container another address. */
  leaseChanged(container: Container, before: readonly NetworkEndpoint[]): void {
    container
      .exclusive(async () => {
        // One that is not connected yet has set what it was given by itself.
        if (container.running && container.channel !== null) await this.tellGuest(container, before);
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
          await this.change(container, (handle) => {
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
    await this.change(container, (handle) => {
      handle.key(SPEC_KEY, keptSpec(spec));
      if (card !== undefined) handle.removeCard(card.key);
      if (at < 0 || card !== undefined) handle.addCard({ ...networks.places.attachmentOf(wish), mac: wish.mac });
    });
    container.spec = spec;
  }

  private async dropCard(container: Container, wish: NetworkWish): Promise<void> {
    const spec = without(container.spec, wish);
    const card = await this.cardOf(container, wish);
    await this.change(container, (handle) => {
      handle.key(SPEC_KEY, keptSpec(spec));
      if (card !== undefined) handle.removeCard(card.key);
    });
    container.spec = spec;
    this.context.networks.places.leave(container.id, this.idOf(wish));
  }

  // --- a container that runs -----------------------------------------------------------------------------------------

  private async plug(container: Container, wish: NetworkWish, network: NetworkInfo): Promise<void> {
    const { networks } = this.context;
    const before = { spec: container.spec, endpoints: container.endpoints };
    // The host must know from the beginning which addresses may be used with the card, so its address is chosen here.
    const mac = wish.mac ?? newMac();
    const endpoint = networks.places.join(container.id, wish, mac, before.endpoints);
    const after = {
      spec: { ...before.spec, networks: [...before.spec.networks, wish] },
      endpoints: [...before.endpoints, endpoint],
    };
    try {
      // Its addresses mean something before it can send from them.
      await this.context.gate.pass(container, after.endpoints);
      await this.change(container, (handle) => {
        this.record(handle, container, after);
        handle.addCard({ ...cardPlace(network), mac });
      });
    } catch (error) {
      networks.places.leave(container.id, network.id);
      throw this.failed(container, wish, 'connect', error);
    }
    container.spec = after.spec;
    container.dispatch({ type: 'networks', endpoints: after.endpoints });
    try {
      await this.channelOf(container).addNic({
        name: endpoint.interfaceName ?? '',
        mac,
        ...cardSettings(endpoint, after.endpoints, after.spec.openPorts),
      });
      await leased(container);
      await this.tellGuest(container, before.endpoints);
    } catch (error) {
      if (await this.takeBack(container, before, mac)) networks.places.leave(container.id, network.id);
      throw this.failed(container, wish, 'connect', error);
    }
    networks.tell('connected', network.id, container.id);
  }

  private async unplug(container: Container, wish: NetworkWish): Promise<void> {
    const { networks } = this.context;
    const id = this.idOf(wish);
    const before = { spec: container.spec, endpoints: container.endpoints };
    const endpoint = before.endpoints.find(({ networkId, network }) => networkId === id || network === wish.network);
    if (endpoint === undefined)
      throw new PortLayerError('network.notOn', { container: container.id, network: wish.network });
    const after = {
      spec: without(before.spec, wish),
      endpoints: before.endpoints.filter((one) => one !== endpoint),
    };
    const channel = this.channelOf(container);
    const { mac } = endpoint;
    try {
      await channel.removeNic(mac);
      const card = (await readCards(this.context.client, container.machine)).find((one) => one.mac === mac);
      await this.change(container, (handle) => {
        this.record(handle, container, after);
        if (card !== undefined) handle.removeCard(card.key);
      });
    } catch (error) {
      await channel
        .addNic({
          name: endpoint.interfaceName ?? '',
          mac,
          ...cardSettings(endpoint, before.endpoints, before.spec.openPorts),
        })
        .then(() => this.tellGuest(container, after.endpoints))
        .catch((failure: unknown) =>
          log.error({ container: container.id, err: messageOf(failure) }, 'a card that was to go is not set up again'),
        );
      throw this.failed(container, wish, 'disconnect', error);
    }
    container.spec = after.spec;
    container.dispatch({ type: 'networks', endpoints: after.endpoints });
    networks.places.leave(container.id, id);
    await this.tellGuest(container, before.endpoints).catch((error: unknown) =>
      log.error({ container: container.id, err: messageOf(error) }, 'a container was not told all of its networks'),
    );
    networks.tell('disconnected', id, container.id);
  }

  /** Default routes, name servers and files, as its networks are now. @param before its endpoints when it was last told */
  private async tellGuest(container: Container, before: readonly NetworkEndpoint[]): Promise<void> {
    const { spec, endpoints } = container;
    const channel = this.channelOf(container);
    const [four, six] = [wayOut4(endpoints), wayOut6(endpoints)];
    if (wayOut4(before)?.mac !== four?.mac || wayOut6(before)?.mac !== six?.mac)
      await channel.routes({
        gateway: four?.gateway ?? '',
        mac: (four ?? leasedWayOut(endpoints))?.mac ?? '',
        gateway6: six?.gateway6 ?? '',
        mac6: six?.mac ?? '',
      });
    const files = networkFiles(spec, hostnameOf(spec), endpoints);
    const text = (path: string): string => String(files.find((file) => file.path === path)?.content ?? '');
    await channel.rewrite([
      { path: '/etc/hosts', content: text('/etc/hosts'), changed: 'merged' },
      { path: '/etc/resolv.conf', content: text('/etc/resolv.conf'), changed: 'left' },
    ]);
    await channel.nameServers(serversOf(spec, endpoints));
  }

  /** Undoes a connection. @returns false if the card stays, because the host does not take it back */
  private async takeBack(
    container: Container,
    before: { spec: ContainerSpec; endpoints: NetworkEndpoint[] },
    mac: string,
  ): Promise<boolean> {
    const added = container.endpoints;
    try {
      await container.channel?.removeNic(mac).catch(() => undefined);
      const card = (await readCards(this.context.client, container.machine)).find((one) => one.mac === mac);
      await this.change(container, (handle) => {
        this.record(handle, container, before);
        if (card !== undefined) handle.removeCard(card.key);
      });
    } catch (error) {
      if (isKind(error, 'notFound')) return true;
      log.error({ container: container.id, err: messageOf(error) }, 'a card that a guest did not set up stays');
      return false;
    }
    container.spec = before.spec;
    container.dispatch({ type: 'networks', endpoints: before.endpoints });
    if (container.running && mainEndpoint(added)?.mac === mac)
      await this.tellGuest(container, added).catch(() => undefined);
    return true;
  }

  // --- both ----------------------------------------------------------------------------------------------------------

  /** What is kept of the container's networks. */
  private record(
    handle: Handle,
    { facts }: Container,
    { spec, endpoints }: { spec: ContainerSpec; endpoints: NetworkEndpoint[] },
  ): void {
    handle.key(SPEC_KEY, keptSpec(spec)).key(ADDRESSES_KEY, addressesValue(endpoints));
    for (const [key, value] of trustKeys(endpoints, spec.openPorts)) handle.key(key, value);
    const record = currentRecord(facts);
    if (record !== null) handle.key(RUN_KEY, JSON.stringify({ ...record, endpoints }));
  }

  private async change(container: Container, join: (handle: Handle) => void): Promise<void> {
    const { machine } = container;
    try {
      await change(this.context.client, container.vm, machine.changeVersion, join);
    } finally {
      machine.cards = null;
    }
  }

  private async cardOf(container: Container, wish: NetworkWish): Promise<{ key: number } | undefined> {
    const { networks, client } = this.context;
    const all = container.spec.networks;
    const places = all.map((one) => ({ ...networks.places.attachmentOf(one), mac: one.mac }));
    return cardsFor(places, await readCards(client, container.machine))[all.indexOf(wish)];
  }

  private channelOf({ id, channel }: Container): NonNullable<Container['channel']> {
    if (channel === null) throw new PortLayerError('container.notRunning', { container: id });
    return channel;
  }

  private idOf({ network, networkId }: NetworkWish): string {
    return networkId ?? this.context.networks.list().find(({ name }) => name === network)?.id ?? '';
  }

  private failed({ id }: Container, { network }: NetworkWish, doing: 'connect' | 'disconnect', error: unknown): Error {
    // What says itself what is wrong stays as it is.
    if (error instanceof PortLayerError) return error;
    return new PortLayerError(
      'network.notConnected',
      { container: id, network, doing, reason: messageOf(error) },
      error,
    );
  }
}

const cardPlace = ({ portGroup, distributed }: NetworkInfo): Attachment => ({ portGroup, distributed });

/** One made anew under the same name takes the place of the old one. */
function isOn(wish: NetworkWish, { id, name }: NetworkInfo): boolean {
  return wish.networkId === id || wish.network === name || wish.network === id;
}

const without = (spec: ContainerSpec, wish: NetworkWish): ContainerSpec => ({
  ...spec,
  networks: spec.networks.filter((one) => one !== wish),
});

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

/** A random address of those that VMware lets administrators give out. */
function newMac(): string {
  const [first, ...rest] = randomBytes(3);
  return ['00', '50', '56', ...[first! & 0x3f, ...rest].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
