/**
 * Keeps the gateway in step with the networks of the virtual container host: a card for each, what leaves it, and what is forwarded from its
 * address: the listed ports of the machine. On its loopback the machine's name servers are forwarded, for the server of names.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NetworkInfo } from '../../port-layer/index.js';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { AddressPort, GatewayCard, GatewayNetwork, Protocol } from '../../src/porter/messages.js';
import type { Gateway } from './gateway.js';

const log = logger('gateway');
const PROTOCOLS = ['tcp', 'udp'] as const;
const DNS_PORT = 53;
/** On the loopback of the gateway's own namespace, where nobody else listens. The first server of the machine is there, the next one port up. */
const FIRST_DNS_PORT = 5300;
const LOOPBACK = '127.0.0.1';

/** What of a network matters to its gateway. */
export type ServedNetwork = Pick<NetworkInfo, 'interface' | 'kind' | 'pools' | 'egress' | 'internal' | 'mtu'> & {
  /** Bits a second in each direction, for each container that has no rate of its own; 0: as many as it goes. */
  rate: number;
};

interface Forward {
  protocol: Protocol;
  inner: AddressPort;
  outer: AddressPort;
}

/** How the gateway is to treat a network; null where it is not the network's gateway. */
export function gatewayCard({
  interface: name,
  kind,
  pools,
  egress,
  internal,
  mtu,
  rate,
}: ServedNetwork): GatewayCard | null {
  if (kind !== 'bridge' || name === '') return null;
  const addresses = pools.flatMap(({ gateway, subnet }) =>
    gateway === '' ? [] : [`${gateway}/${subnet.split('/')[1]}`],
  );
  return addresses.length === 0
    ? null
    : { interface: name, addresses, egress: egress === 'relay' && !internal, internal, mtu, rate: Math.ceil(rate / 8) };
}

/** The gateway's first place on each network, with which it starts. */
export function gatewayNetworks(networks: readonly Omit<ServedNetwork, 'rate'>[]): GatewayNetwork[] {
  return networks.flatMap((network) => {
    const card = gatewayCard({ ...network, rate: 0 });
    return card === null ? [] : [{ interface: card.interface, address: card.addresses[0]! }];
  });
}

/** What is forwarded to the machine. */
export function forwardsOf(
  networks: readonly ServedNetwork[],
  hostPorts: readonly number[],
  resolvers: readonly string[],
): Forward[] {
  const gateways = networks
    .filter(({ kind, internal, interface: name }) => kind === 'bridge' && name !== '' && !internal)
    .flatMap(({ pools }) => pools.flatMap(({ gateway }) => (gateway === '' ? [] : gateway)));
  const asked = [
    ...resolvers.map((address, at) => ({
      inner: { address: LOOPBACK, port: FIRST_DNS_PORT + at },
      outer: { address, port: DNS_PORT },
    })),
    ...gateways.flatMap((address) =>
      hostPorts.map((port) => ({ inner: { address, port }, outer: { address: LOOPBACK, port } })),
    ),
  ];
  return asked.flatMap((one) => PROTOCOLS.map((protocol) => ({ protocol, ...one })));
}

/** Where the server of names reaches the machine's name servers, in their order. */
export const nameServers = (resolvers: readonly string[]): AddressPort[] =>
  resolvers.map((_, at) => ({ address: LOOPBACK, port: FIRST_DNS_PORT + at }));

/** What the gateway is to do is told by three functions, so that nothing is remembered twice. */
export interface GatewayWishes {
  networks(): readonly ServedNetwork[];
  hostPorts: readonly number[];
  /** Addresses of the machine's name servers. */
  resolvers(): readonly string[];
}

export class GatewayNetworks {
  /** What the gateway has been told. */
  private cards = new Map<string, GatewayCard>();
  private forwards = new Map<string, number>();
  private steps: Promise<void> = Promise.resolve();

  /** @param nextId numbers that nobody else gives to the gateway */
  constructor(
    private readonly gateway: Pick<Gateway, 'network' | 'networkGone' | 'forward' | 'close'>,
    private readonly wishes: GatewayWishes,
    private readonly nextId: () => number,
  ) {}

  /** Something has changed. Resolves when the gateway has been told everything that holds now; what it cannot do is logged. */
  follow(): Promise<void> {
    this.steps = this.steps.then(() => this.tell());
    return this.steps;
  }

  /** Resolves when the gateway has been told of every change that was followed before. */
  settled(): Promise<void> {
    return this.steps;
  }

  /** The gateway was started again and knows nothing. */
  again(): Promise<void> {
    this.steps = this.steps.then(() => {
      this.cards.clear();
      this.forwards.clear();
    });
    return this.follow();
  }

  private async tell(): Promise<void> {
    const networks = this.wishes.networks();
    const cards = new Map(
      networks.flatMap((network) => gatewayCard(network) ?? []).map((card) => [card.interface, card]),
    );
    const forwards = new Map(
      forwardsOf(networks, this.wishes.hostPorts, this.wishes.resolvers()).map((one) => [JSON.stringify(one), one]),
    );
    // A number of a card may be another network's by now: what belonged to the old one goes first.
    for (const [key, id] of this.forwards)
      if (!forwards.has(key)) {
        this.gateway.close(id);
        this.forwards.delete(key);
      }
    for (const name of this.cards.keys())
      if (!cards.has(name))
        await this.attempt(name, () => this.gateway.networkGone(name).then(() => this.cards.delete(name)));
    for (const [name, card] of cards)
      if (!isDeepStrictEqual(this.cards.get(name), card))
        await this.attempt(name, () => this.gateway.network(card).then(() => this.cards.set(name, card)));
    await Promise.all(
      [...forwards].map(async ([key, { protocol, inner, outer }]) => {
        if (this.forwards.has(key)) return;
        const id = this.nextId();
        await this.attempt(`${protocol} ${inner.address} ${inner.port}`, async () => {
          await this.gateway.forward(id, protocol, inner, outer);
          this.forwards.set(key, id);
        });
      }),
    );
  }

  private async attempt(what: string, step: () => Promise<unknown>): Promise<void> {
    try {
      await step();
    } catch (error) {
      log.error({ what, err: messageOf(error) }, 'the gateway could not be told of a network');
    }
  }
}
