/** IPv4 addresses of one network: handed out in order, and taken back. */
import { Address4 } from 'ip-address';
import { PortLayerError } from '../errors.js';

/**
 * The pool of a subnet. The first address is the gateway's; network and broadcast addresses are never handed out. The search continues
 * after the last address handed out, because one that was just given back is still in its neighbours' ARP caches with the previous owner's
 * MAC.
 */
export class AddressPool {
  readonly prefixLength: number;
  readonly gateway: string;
  private readonly first: bigint;
  private readonly last: bigint;
  private next: bigint;
  /** Who holds an address. */
  private readonly owners = new Map<bigint, string>();

  /** @param subnet CIDR, e.g. `172.16.0.0/16` */
  constructor(readonly subnet: string) {
    const address = new Address4(subnet);
    this.prefixLength = address.subnetMask;
    const network = address.startAddress().bigInt();
    this.gateway = format(network + 1n);
    this.first = network + 2n;
    this.last = address.endAddress().bigInt() - 1n;
    this.next = this.first;
  }

  /** A free address for `owner`. @throws insufficientResources when there is none */
  take(owner: string): string {
    const size = this.last - this.first + 1n;
    for (let tried = 0n; tried < size; tried++) {
      const candidate = this.first + ((this.next - this.first + tried) % size);
      if (this.owners.has(candidate)) continue;
      this.hold(candidate, owner);
      return format(candidate);
    }
    throw new PortLayerError('network.noAddress', { subnet: this.subnet });
  }

  /** Takes the address that `owner` was found with. @throws conflict when somebody else holds it, or it does not belong to the pool */
  claim(address: string, owner: string): void {
    const value = new Address4(address).bigInt();
    if (value < this.first || value > this.last)
      throw new PortLayerError('network.foreignAddress', { address, subnet: this.subnet });
    if ((this.owners.get(value) ?? owner) !== owner) throw new PortLayerError('network.addressInUse', { address });
    this.hold(value, owner);
  }

  /** Takes back all addresses of `owner`. */
  release(owner: string): void {
    for (const [address, holder] of this.owners) if (holder === owner) this.owners.delete(address);
  }

  private hold(address: bigint, owner: string): void {
    this.owners.set(address, owner);
    this.next = address + 1n > this.last ? this.first : address + 1n;
  }
}

function format(value: bigint): string {
  return Address4.fromBigInt(value).address;
}
