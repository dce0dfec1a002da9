/** What a virtual container host may have carried for it. An honest endpoint has asked for nothing else. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { invalid } from '../common/errors.js';
import type { AddressPort, GatewayCard } from './messages.js';
import type { PorterSetup } from './setup.js';

const DNS_PORT = 53;
const LOOPBACK = /^(?:127\.|::1$)/;

/** What of the machine decides about forwards. */
export interface Machine {
  /** Its name servers, of which some may be on its own addresses. */
  resolvers: readonly string[];
  /** Its own addresses. */
  addresses: readonly string[];
}

export function thisMachine(): Machine {
  let resolvers: string[] = [];
  try {
    resolvers = readFileSync('/etc/resolv.conf', 'utf8')
      .split('\n')
      .flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
      .filter((address) => isIP(address) !== 0);
  } catch {
    // Without the file the machine asks itself: resolv.conf(5).
  }
  return {
    resolvers: resolvers.length === 0 ? ['127.0.0.1'] : resolvers,
    addresses: Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)),
  };
}

/** @throws invalid for an address that the virtual container host was not granted */
export function checkPublished({ publish }: Pick<PorterSetup, 'publish'>, host: string, port: number): void {
  const { addresses, lowestPort } = publish;
  if ((port !== 0 && port < lowestPort) || addresses?.includes(host) === false)
    throw invalid(`${host}:${port} is not to be published`);
}

/** @throws invalid for a way out where the virtual container host is to have none */
export function checkEgress(
  { egress }: Pick<PorterSetup, 'egress'>,
  card: Pick<GatewayCard, 'interface' | 'egress'>,
): void {
  if (card.egress && !egress) throw invalid(`nothing is to leave ${card.interface}`);
}

/**
 * Forwards lead to name servers, and to those ports of the machine that were listed.
 * @param own the gateway's addresses
 * @throws invalid
 */
export function checkForward(
  { hostPorts }: Pick<PorterSetup, 'hostPorts'>,
  inner: AddressPort,
  outer: AddressPort,
  own: readonly string[],
  machine: Machine,
): void {
  if (!LOOPBACK.test(inner.address) && !own.includes(inner.address))
    throw invalid(`${inner.address} is not the gateway's`);
  const ofMachine = LOOPBACK.test(outer.address) || machine.addresses.includes(outer.address);
  const isResolver = outer.port === DNS_PORT && (!ofMachine || machine.resolvers.includes(outer.address));
  if (!isResolver && !(ofMachine && hostPorts.includes(outer.port)))
    throw invalid(`${outer.address}:${outer.port} is not to be reached`);
}
