/**
 * Cards of containers that run. A card is plugged in or out, and then the guest is told; whatever fails, the container is as it was before.
 */
import { randomBytes } from 'node:crypto';
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { Attachment } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';
import { mainEndpoint, wayOut4, wayOut6 } from '../network/endpoints.js';
import type { NetworkEndpoint, NetworkInfo, NetworkWish } from '../network/types.js';
import { changeCards, readCards } from './cards.js';
import type { Container } from './container.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import type { Handle } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { cardSettings, hostnameOf, leasedWayOut, networkFiles, serversOf } from './program-spec.js';
import { currentRecord, RUN_KEY } from './run-record.js';
import { leased } from './start.js';
import { ADDRESSES_KEY, addressesValue, SPEC_KEY, trustKeys } from './vm-spec.js';

const log = logger('exec');

/** See the file's head. */
export class LiveCards {
  constructor(private readonly context: ExecContext) {}

  /** Puts it on a network. */
  async plug(container: Container, wish: NetworkWish, network: NetworkInfo): Promise<void> {
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
      await changeCards(this.context.client, container, (handle) => {
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

  /** Takes it off a network. @param id the network's */
  async unplug(container: Container, wish: NetworkWish, id: string): Promise<void> {
    const { networks } = this.context;
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
      await changeCards(this.context.client, container, (handle) => {
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

  /**
   * An endpoint before this one may have been killed while it connected or disconnected the container: then the VM has a card, and its record
   * a place, of which the guest knows nothing. @param known the MAC addresses of the cards that the guest has set up
   */
  async resume(container: Container, known: ReadonlySet<string>): Promise<void> {
    if (!container.running || container.paused || container.leaving) return;
    const { spec, endpoints } = container;
    // What gets its address by DHCP is the guest's own to set up.
    const missing = endpoints.filter(
      ({ mac, address, address6 }) => (address !== '' || address6 !== '') && !known.has(mac.toLowerCase()),
    );
    if (missing.length === 0) return;
    log.warn({ container: container.id, cards: missing.length }, 'a container is told of cards that it has not set up');
    const channel = this.channelOf(container);
    for (const endpoint of missing)
      await channel.addNic({
        name: endpoint.interfaceName ?? '',
        mac: endpoint.mac,
        ...cardSettings(endpoint, endpoints, spec.openPorts),
      });
    await this.tellGuest(
      container,
      endpoints.filter((one) => !missing.includes(one)),
    );
  }

  /** Default routes, name servers and files, as its networks are now. @param before its endpoints when it was last told */
  async tellGuest(container: Container, before: readonly NetworkEndpoint[]): Promise<void> {
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
      await changeCards(this.context.client, container, (handle) => {
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

  /** What is kept of the container's networks. */
  private record(
    handle: Handle,
    { facts }: Container,
    { spec, endpoints }: { spec: ContainerSpec; endpoints: NetworkEndpoint[] },
  ): void {
    handle.key(SPEC_KEY, keptSpec(spec)).key(ADDRESSES_KEY, addressesValue(endpoints, spec.sharing));
    for (const [key, value] of trustKeys(endpoints, spec.openPorts)) handle.key(key, value);
    const record = currentRecord(facts);
    if (record !== null) handle.key(RUN_KEY, JSON.stringify({ ...record, endpoints }));
  }

  private channelOf({ id, channel }: Container): NonNullable<Container['channel']> {
    if (channel === null) throw new PortLayerError('container.notRunning', { container: id });
    return channel;
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

/** A container without a place on a network. */
export const without = (spec: ContainerSpec, wish: NetworkWish): ContainerSpec => ({
  ...spec,
  networks: spec.networks.filter((one) => one !== wish),
});

/** A random address of those that VMware lets administrators give out. */
function newMac(): string {
  const [first, ...rest] = randomBytes(3);
  return ['00', '50', '56', ...[first! & 0x3f, ...rest].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
