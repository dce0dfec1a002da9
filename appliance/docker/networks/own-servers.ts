/** The name servers that containers asked for with `--dns`, as the server of names reaches them. */

import { Address4, Address6 } from 'ip-address';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { AddressPort, Gateway } from '../../gateway/index.js';
import type { NamedNetwork } from './names-table.js';

const log = logger('names');
const DNS_PORT = 53;
const LOOPBACK = '127.0.0.1';
const INSIDE = /^(127\.|::1$)/;
/** Where nobody could be asked. */
const NOWHERE = /^(127\.0\.0\.11$|0\.|::$)/;

/** How a server is reached. */
export type Way =
  /** It is itself a gateway, or no place at all: asking it would go round in a circle, or nowhere. */
  | { kind: 'none' }
  /** It is in the container itself, which asks it, and then the others that it wants (`port-layer/exec/program-spec.ts`, `serversOf`). */
  | { kind: 'inside' }
  /** It is on a network of the containers', which the server of names is on too. */
  | { kind: 'direct'; server: AddressPort }
  /** In the world outside: by a forward. */
  | { kind: 'forward' };

/** Pure. @param networks those of the container that asked for it */
export function wayTo(address: string, networks: readonly NamedNetwork[], gateways: ReadonlySet<string>): Way {
  if (NOWHERE.test(address) || gateways.has(address)) return { kind: 'none' };
  if (INSIDE.test(address)) return { kind: 'inside' };
  const near = networks.some(
    ({ kind, pools }) => kind === 'bridge' && pools.some(({ subnet }) => holds(subnet, address)),
  );
  return near ? { kind: 'direct', server: { address, port: DNS_PORT } } : { kind: 'forward' };
}

function holds(subnet: string, address: string): boolean {
  if (subnet.includes(':') !== address.includes(':')) return false;
  return address.includes(':')
    ? new Address6(address).isInSubnet(new Address6(subnet))
    : new Address4(address).isInSubnet(new Address4(subnet));
}

interface Forward {
  ids: number[];
  /** Null: it could not be made. */
  server: AddressPort | null;
}

/** Forwards to servers in the world outside, one for each server, as long as a container wants it. */
export class ServerForwards {
  private readonly forwards = new Map<string, Forward>();

  /** @param nextId numbers that nobody else gives to the gateway */
  constructor(
    private readonly gateway: Pick<Gateway, 'forward' | 'close'>,
    private readonly nextId: () => number,
  ) {}

  /** Makes those that are wanted and gives up all others. */
  async want(addresses: ReadonlySet<string>): Promise<void> {
    for (const [address, { ids }] of this.forwards) {
      if (addresses.has(address)) continue;
      for (const id of ids) this.gateway.close(id);
      this.forwards.delete(address);
    }
    await Promise.all([...addresses].map((address) => this.forwards.has(address) || this.make(address)));
  }

  to(address: string): AddressPort | null {
    return this.forwards.get(address)?.server ?? null;
  }

  /** The gateway was started again, and forwards nothing. */
  forget(): void {
    this.forwards.clear();
  }

  /** The same port for UDP and TCP. */
  private async make(address: string): Promise<void> {
    const ids = [this.nextId(), this.nextId()] as const;
    const outer = { address, port: DNS_PORT };
    try {
      const port = await this.gateway.forward(ids[0], 'udp', { address: LOOPBACK, port: 0 }, outer);
      const server = { address: LOOPBACK, port };
      await this.gateway.forward(ids[1], 'tcp', server, outer);
      this.forwards.set(address, { ids: [...ids], server });
    } catch (error) {
      log.warn(
        { server: address, err: messageOf(error) },
        'a name server that a container asked for cannot be reached',
      );
      for (const id of ids) this.gateway.close(id);
      this.forwards.set(address, { ids: [], server: null });
    }
  }
}
