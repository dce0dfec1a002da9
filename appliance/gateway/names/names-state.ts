/** What the names server knows of containers and networks, arranged for lookups. */
import type { AddressPort } from '../../../src/porter/messages.js';
import type { NamesChange, NamesContainer, NamesMember, NamesNetwork } from '../../../src/porter/names-table.js';
import { NamePatterns } from './name-patterns.js';
import { canonical } from './wire.js';

/** A network with who is on it. */
export class KnownNetwork {
  /** By name in lower case. */
  private readonly named = new Map<string, NamesMember[]>();
  private readonly byAddress = new Map<string, NamesMember>();

  constructor(public about: NamesNetwork) {}

  /** Who has that name there. @param name in lower case */
  called(name: string): readonly NamesMember[] {
    return this.about.named ? (this.named.get(name) ?? []) : [];
  }

  at(address: string): NamesMember | undefined {
    return this.about.named ? this.byAddress.get(address) : undefined;
  }

  add(member: NamesMember): void {
    for (const name of keys(member)) {
      const bearers = this.named.get(name);
      if (bearers === undefined) this.named.set(name, [member]);
      else bearers.push(member);
    }
    for (const address of member.addresses) this.byAddress.set(address, member);
  }

  delete(member: NamesMember): void {
    for (const name of keys(member)) {
      const left = (this.named.get(name) ?? []).filter((one) => one !== member);
      if (left.length === 0) this.named.delete(name);
      else this.named.set(name, left);
    }
    for (const address of member.addresses) if (this.byAddress.get(address) === member) this.byAddress.delete(address);
  }
}

/** A container with what it may look up. */
export interface KnownContainer extends NamesContainer {
  /** Null: every name. */
  mayAsk: NamePatterns | null;
}

const keys = ({ names }: NamesMember): Set<string> => new Set(names.map((name) => name.toLowerCase()));

export class NamesState {
  private readonly containers = new Map<string, KnownContainer>();
  private readonly networks = new Map<string, KnownNetwork>();
  private readonly askers = new Map<string, KnownContainer>();
  /** The machine's servers. */
  servers: readonly AddressPort[] = [];
  private reported = new NamePatterns([]);

  apply(change: NamesChange): void {
    if (change.whole) {
      this.containers.clear();
      this.networks.clear();
      this.askers.clear();
    }
    if (change.networks !== null) this.setNetworks(change.networks);
    if (change.servers !== null) this.servers = change.servers;
    if (change.reported !== null) this.reported = new NamePatterns(change.reported);
    // First those that leave: their addresses and names may belong to others in the same change.
    for (const id of [...change.gone, ...change.containers.map((one) => one.id)]) this.delete(id);
    for (const container of change.containers) this.add(container);
  }

  /** Whose address that is. */
  asker(address: string): KnownContainer | undefined {
    return this.askers.get(address);
  }

  network(id: string): KnownNetwork | undefined {
    return this.networks.get(id);
  }

  /** Whether the addresses of a name are to be reported. @param name in lower case */
  isReported(name: string): boolean {
    return this.reported.has(name);
  }

  private setNetworks(networks: readonly NamesNetwork[]): void {
    const ids = new Set(networks.map(({ id }) => id));
    for (const id of this.networks.keys()) if (!ids.has(id)) this.networks.delete(id);
    for (const about of networks) {
      const known = this.networks.get(about.id);
      if (known !== undefined) known.about = about;
      else this.networks.set(about.id, this.filled(new KnownNetwork(about)));
    }
  }

  /** With the containers that were told of before their network was. */
  private filled(network: KnownNetwork): KnownNetwork {
    for (const { members } of this.containers.values())
      for (const member of members) if (member.network === network.about.id) network.add(member);
    return network;
  }

  private add(given: NamesContainer): void {
    const members = given.members.map((member) => ({ ...member, addresses: member.addresses.map(canonical) }));
    const { lookups } = given;
    const container = { ...given, members, mayAsk: lookups === null ? null : new NamePatterns(lookups) };
    this.containers.set(container.id, container);
    for (const member of members) {
      this.networks.get(member.network)?.add(member);
      for (const address of member.addresses) this.askers.set(address, container);
    }
  }

  private delete(id: string): void {
    const container = this.containers.get(id);
    if (container === undefined) return;
    this.containers.delete(id);
    for (const member of container.members) {
      this.networks.get(member.network)?.delete(member);
      for (const address of member.addresses) if (this.askers.get(address) === container) this.askers.delete(address);
    }
  }
}
