/** What the words of a trace's request mean: who is asked about, and between which addresses a packet goes. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { ContainerInfo, ExecService, NetworkEndpoint } from '../../../port-layer/index.js';
import { conflict, invalid, isKind, messageOf } from '../../../src/common/errors.js';
import type { Party, Subject } from '../../policy/index.js';

export interface Target {
  party: Party;
  text: string;
  /** Of a container: the endpoint on a network of the sender; undefined: there is none. */
  endpoint?: NetworkEndpoint | undefined;
}

/** Both ends of a packet. */
export interface PacketPlaces {
  from: string;
  to: string;
  fromMac: string;
  /** Of a card, or `gateway`. */
  toMac: string;
  network: string;
}

export function running(container: ContainerInfo): ContainerInfo {
  if (container.state !== 'running') throw conflict(`Container ${container.spec.id} is not running`);
  return container;
}

/** @throws invalid */
export function destination(to: string, protocol: string): [name: string, port: number] {
  if (protocol === 'icmp') return [to.replace(/^\[(.*)\]$/, '$1'), 0];
  const [, bracketed, plain = '', port] = /^(?:\[([^\]]*)\]|(.*)):(\d{1,5})$/.exec(to) ?? [];
  const name = bracketed ?? plain;
  if (port === undefined || Number(port) > 65_535 || name === '') throw invalid(`'${to}' is not of the form name:port`);
  return [name, Number(port)];
}

/** @throws invalid for a name that is none, conflict for a container that does not run */
export async function targetOf(
  exec: Pick<ExecService, 'resolve'>,
  sender: ContainerInfo,
  subjects: readonly Subject[],
  name: string,
): Promise<Target> {
  const byAddress = isIP(name) === 0 ? undefined : subjects.find(({ addresses }) => addresses.includes(name));
  const found = isIP(name) !== 0 ? byAddress?.id : containerId(exec, name);
  if (found !== undefined) {
    const container = running(exec.resolve(found));
    const subject = subjects.find(({ id }) => id === container.spec.id);
    if (subject === undefined) throw conflict(`${container.spec.name} has no address`);
    const ids = new Set(sender.endpoints.map(({ networkId }) => networkId));
    const shared = container.endpoints.filter(({ networkId }) => ids.has(networkId));
    const endpoint = shared.find(({ address, address6 }) => address === name || address6 === name) ?? shared[0];
    return { party: { kind: 'container', subject }, text: container.spec.name, endpoint };
  }
  if (isIP(name) !== 0) return { party: { kind: 'outside', address: name, names: [] }, text: name };
  const answer = await lookup(name).catch((error: unknown) => {
    throw invalid(`'${name}' is neither a container nor a name that can be looked up: ${messageOf(error)}`);
  });
  return {
    party: { kind: 'outside', address: answer.address, names: [name.toLowerCase()] },
    text: `${name} (${answer.address})`,
  };
}

function containerId(exec: Pick<ExecService, 'resolve'>, reference: string): string | undefined {
  try {
    return exec.resolve(reference).spec.id;
  } catch (error) {
    if (isKind(error, 'notFound')) return undefined;
    throw error;
  }
}

/** Whence and whereto the packet is sent; null: there is no way. */
export function addressesOf(sender: ContainerInfo, { party, endpoint }: Target): PacketPlaces | null {
  if (party.kind === 'outside') {
    const six = isIP(party.address) === 6;
    const own = sender.endpoints.find(
      (one) =>
        !one.internal && (six ? one.gateway6 !== '' && one.address6 !== '' : one.gateway !== '' && one.address !== ''),
    );
    if (own === undefined) return null;
    return {
      from: six ? own.address6 : own.address,
      to: party.address,
      fromMac: own.mac.toLowerCase(),
      toMac: 'gateway',
      network: own.network,
    };
  }
  const own = sender.endpoints.find(({ networkId }) => networkId === endpoint?.networkId);
  if (own === undefined || endpoint === undefined) return null;
  const six = own.address === '' || endpoint.address === '';
  const [from, to] = six ? [own.address6, endpoint.address6] : [own.address, endpoint.address];
  if (from === '' || to === '') return null;
  return { from, to, fromMac: own.mac.toLowerCase(), toMac: endpoint.mac.toLowerCase(), network: own.network };
}
