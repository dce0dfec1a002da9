/** The ends of a flow, and which selectors they match. */
import { matchesGlob } from '../../src/common/glob.js';
import { inRange } from './ranges.js';
import type { Peer, Protocol, Selector } from './rules.js';

/** A container as a policy sees it. */
export interface Subject {
  id: string;
  name: string;
  labels: Record<string, string>;
  /** Its networks; those that it will have when it starts, if it does not run. */
  networks: string[];
  /** Its cards' MAC addresses, in lower case. */
  macs: string[];
  /** IPv4 and IPv6. */
  addresses: string[];
}

/** An end of a flow. */
export type Party =
  | { kind: 'container'; subject: Subject }
  /** @property names what DNS answers called it, in lower case */
  | { kind: 'outside'; address: string; names: readonly string[] };

export interface Flow {
  from: Party;
  to: Party;
  protocol: Protocol;
  /** The destination's; 0 for `icmp` and `other`. */
  port: number;
}

/** True if the container matches. */
export function selects(selector: Selector, { labels, name, networks }: Subject): boolean {
  return (
    Object.entries(selector.labels ?? {}).every(([key, value]) => key in labels && matchesGlob(labels[key]!, value)) &&
    (selector.names?.some((one) => matchesGlob(name, one)) ?? true) &&
    (selector.networks?.some((one) => networks.some((network) => matchesGlob(network, one))) ?? true)
  );
}

/** True if one of the peers is this party. */
export function isPeer(peers: readonly Peer[], party: Party): boolean {
  return peers.some((peer) => matchesPeer(peer, party));
}

function matchesPeer(peer: Peer, party: Party): boolean {
  switch (peer.kind) {
    case 'any':
      return true;
    case 'containers':
      return party.kind === 'container' && selects(peer.selector, party.subject);
    case 'outside':
      return party.kind === 'outside';
    case 'ranges':
      return party.kind === 'outside' && peer.cidrs.some((cidr) => inRange(party.address, cidr));
    case 'names':
      return party.kind === 'outside' && peer.fqdns.some((fqdn) => party.names.some((name) => isNamed(fqdn, name)));
  }
}

/** `*.example.org` means every name below `example.org`, however deep, and not that name itself. */
export function isNamed(pattern: string, name: string): boolean {
  return pattern.startsWith('*.')
    ? name.endsWith(pattern.slice(1)) && name.length > pattern.length - 1
    : pattern === name;
}
