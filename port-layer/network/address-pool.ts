/** IPv4 addresses of one network: given in order after the last one, as Docker does, and taken back. */
import { Address4 } from 'ip-address';
import { conflict, insufficientResources } from '../../src/common/errors.js';

/** The pool of a subnet. The first address is the gateway's; network and broadcast addresses are never given. */
export class AddressPool {
  readonly prefixLength: number;
  readonly gateway: string;
  private readonly first: bigint;
  private readonly last: bigint;
  private next: bigint;
  private readonly used = new Set<bigint>();

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

  /** A free address. @throws insufficientResources when there is none */
  take(): string {
    const size = this.last - this.first + 1n;
    for (let tried = 0n; tried < size; tried++) {
      const candidate = this.first + ((this.next - this.first + tried) % size);
      if (this.used.has(candidate)) continue;
      this.used.add(candidate);
      this.next = candidate + 1n > this.last ? this.first : candidate + 1n;
      return format(candidate);
    }
    throw insufficientResources(`no available IPv4 addresses on this network's address pools: ${this.subnet}`);
  }

  /** Marks an address as used: that of a container that was found running. @throws conflict when it is in use */
  claim(address: string): void {
    const value = new Address4(address).bigInt();
    if (this.used.has(value)) throw conflict('Address already in use');
    this.used.add(value);
  }

  release(address: string): void {
    this.used.delete(new Address4(address).bigInt());
  }
}

function format(value: bigint): string {
  return Address4.fromBigInt(value).address;
}
