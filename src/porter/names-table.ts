/**
 * What containers may look up at their gateways. The endpoint keeps the names server's table up to date by differences, since a table of a
 * thousand containers is too much to send whenever one of them starts.
 */
import type { AddressPort } from './address-port.js';

/** A network as the names server sees it. */
export interface NamesNetwork {
  id: string;
  /** Names on it may be followed by this one: `web.backend`. */
  name: string;
  /** Whether containers are found by name there; not so on the default bridge, as in Docker. */
  named: boolean;
  /** Whether it has a way out: who has none must not reach the world through questions either. */
  forwards: boolean;
}

/** A container's place on one network. */
export interface NamesMember {
  /** Id of the network. */
  network: string;
  /** IPv4 and IPv6. */
  addresses: string[];
  /** What the container is called there. The first one is its name, which a reverse lookup tells. */
  names: string[];
  /** Names that only this container knows, and what each stands for on this network. */
  links: [alias: string, name: string][];
}

export interface NamesContainer {
  id: string;
  /** In the order in which its own lookups go through them. */
  members: NamesMember[];
  /** Servers to be asked for all other names instead of the machine's, as the names server reaches them; null: the machine's. */
  servers: AddressPort[] | null;
  /** Which other names it may look up: `example.com`, `*.example.com` (all below it); null: all. Containers' names are always told. */
  lookups: string[] | null;
}

/** How the table changes. What is null stays as it is. */
export interface NamesChange {
  /** What was there before is forgotten. */
  whole: boolean;
  networks: NamesNetwork[] | null;
  /** The machine's servers as the names server reaches them, in order. */
  servers: AddressPort[] | null;
  /** New, or in another state. */
  containers: NamesContainer[];
  /** Ids of containers. */
  gone: string[];
  /** Addresses of these names are reported before they are told: `example.com`, `*.example.com` (all below it), `*` (all). */
  reported: string[] | null;
}

/** Questions that {@link NamesContainer.lookups} does not allow. */
export interface RefusedLookups {
  /** Whose the last one was, and its name: in lower case; '' for one that no name can have. */
  asker: string;
  name: string;
  /** How many there were since they were told of last. */
  count: number;
}

/** The addresses that an asker is about to be told. */
export interface NamesAnswer {
  /** Whose question it was. */
  asker: string;
  /** In lower case, without a dot at its end. */
  name: string;
  addresses: string[];
  /** Seconds. */
  ttl: number;
}
