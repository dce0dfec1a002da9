/** The addresses of one subnet: handed out in order, and taken back. */
import { PortLayerError } from '../errors.js';
import {
  type AddressRange,
  contains,
  formatAddress,
  parseAddress,
  parseRanges,
  parseSubnet,
  type Subnet,
} from './cidr.js';
import type { Pool, PoolUse } from './network-spec.js';

/** Who has an address. */
interface Holder {
  owner: string;
  /** It does not run: its address is kept for it, unless somebody needs it. */
  resting: boolean;
  /** It was asked for, so nobody else is given it without asking. */
  asked: boolean;
}

/**
 * The pool of a subnet. The gateway, the auxiliary addresses, and the subnet's first and last address are never handed out. The search
 * continues after the last address handed out, because one that was just given back is still in its neighbours' ARP caches with the
 * previous owner's MAC. What a stopped container had is kept for it as long as there are other addresses.
 */
export class AddressPool {
  readonly family: 4 | 6;
  readonly prefixLength: number;
  readonly gateway: string;
  private readonly subnet: Subnet;
  /** What is chosen from, without gaps in the counting. */
  private readonly ranges: AddressRange[];
  private readonly size: bigint;
  /** How many of {@link size} are nobody's to have. */
  private readonly taken: ReadonlySet<bigint>;
  /** Where the search continues: a place in {@link ranges}. */
  private next = 0n;
  private readonly holders = new Map<bigint, Holder>();

  /** @param pool a valid one; only a subnet: its first address is the gateway's */
  constructor(pool: Pool | string) {
    const { subnet, gateway, ipRange, aux } = typeof pool === 'string' ? plainPool(pool) : pool;
    const parsed = parseSubnet(subnet);
    if (parsed === null) throw new PortLayerError('network.badConfig', { problems: [`invalid subnet ${subnet}`] });
    this.subnet = parsed;
    this.family = parsed.family;
    this.prefixLength = parsed.prefixLength;
    this.gateway = gateway;
    this.ranges = (ipRange === undefined ? null : parseRanges(ipRange)) ?? [parsed];
    this.size = this.ranges.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
    const own = [gateway, ...Object.values(aux)].flatMap((address) => parseAddress(address)?.value ?? []);
    this.taken = new Set([...own, ...endsOf(parsed)]);
  }

  /** A free address for `owner`. @throws insufficientResources when there is none */
  take(owner: string): string {
    for (const [address, holder] of this.holders)
      if (holder.owner === owner && !holder.asked) return this.hold(address, { owner, resting: false, asked: false });
    const address = this.search((value) => !this.holders.has(value)) ?? this.search((value) => this.isSpare(value));
    if (address === null) throw new PortLayerError('network.noAddress', { subnet: this.text, family: this.family });
    return this.hold(address, { owner, resting: false, asked: false });
  }

  /** The address that `owner` asks for. @throws conflict when it is not to be had, invalid when it is not in the subnet */
  ask(address: string, owner: string): string {
    const value = this.valueOf(address);
    const holder = this.holders.get(value);
    if (this.taken.has(value) || (holder !== undefined && holder.owner !== owner && !holder.resting))
      throw new PortLayerError('network.addressInUse', { address });
    return this.hold(value, { owner, resting: false, asked: true });
  }

  /** Takes the address that `owner` was found running with. @throws conflict when somebody else runs with it, or it is not the subnet's */
  claim(address: string, owner: string, asked = false): void {
    const value = this.valueOf(address);
    const holder = this.holders.get(value);
    if (this.taken.has(value) || (holder !== undefined && holder.owner !== owner && !holder.resting))
      throw new PortLayerError('network.addressInUse', { address });
    this.hold(value, { owner, resting: false, asked });
  }

  /** Keeps an address for a container that does not run, if nobody has it. */
  keep(address: string, owner: string, asked = false): void {
    const value = parseAddress(address);
    if (value === null || !this.holds(address) || this.taken.has(value.value) || this.holders.has(value.value)) return;
    this.hold(value.value, { owner, resting: true, asked });
  }

  /** `owner` does not run any more; its address is kept for it. */
  rest(owner: string): void {
    for (const holder of this.holders.values()) if (holder.owner === owner) holder.resting = true;
  }

  /** Takes back all addresses of `owner`. */
  release(owner: string): void {
    for (const [address, holder] of this.holders) if (holder.owner === owner) this.holders.delete(address);
  }

  /** Who runs, or is about to, with an address of it. */
  active(): string[] {
    return [...this.holders.values()].filter(({ resting }) => !resting).map(({ owner }) => owner);
  }

  /** Whether an address lies in the subnet. */
  holds(address: string): boolean {
    const parsed = parseAddress(address);
    return parsed !== null && contains(this.subnet, { family: parsed.family, first: parsed.value, last: parsed.value });
  }

  /** How much of it is in use. */
  use(): PoolUse {
    const inRanges = (value: bigint): boolean => this.ranges.some(({ first, last }) => first <= value && value <= last);
    const gone = new Set([...this.taken, ...this.holders.keys()]);
    return {
      subnet: this.text,
      used: BigInt(gone.size),
      free: this.size - BigInt([...gone].filter(inRanges).length),
    };
  }

  private get text(): string {
    return `${formatAddress(this.family, this.subnet.first)}/${this.prefixLength}`;
  }

  private valueOf(address: string): bigint {
    const parsed = parseAddress(address);
    if (parsed === null || !this.holds(address))
      throw new PortLayerError('network.foreignAddress', { address, subnet: this.text });
    return parsed.value;
  }

  /** The first address from {@link next} on that is free by that measure; nobody looks at more than there are holders. */
  private search(isFree: (value: bigint) => boolean): bigint | null {
    const bound = BigInt(this.holders.size + this.taken.size) + 1n;
    for (let tried = 0n; tried < this.size && tried < bound; tried++) {
      const value = this.at((this.next + tried) % this.size);
      if (!this.taken.has(value) && isFree(value)) return value;
    }
    return null;
  }

  private at(place: bigint): bigint {
    let left = place;
    for (const { first, last } of this.ranges) {
      const size = last - first + 1n;
      if (left < size) return first + left;
      left -= size;
    }
    return this.ranges[0]!.first;
  }

  private placeOf(value: bigint): bigint | null {
    let before = 0n;
    for (const { first, last } of this.ranges) {
      if (first <= value && value <= last) return before + value - first;
      before += last - first + 1n;
    }
    return null;
  }

  private isSpare(value: bigint): boolean {
    const holder = this.holders.get(value);
    return holder === undefined || (holder.resting && !holder.asked);
  }

  private hold(address: bigint, holder: Holder): string {
    this.holders.set(address, holder);
    const place = this.placeOf(address);
    if (place !== null && !holder.resting && !holder.asked) this.next = (place + 1n) % this.size;
    return formatAddress(this.family, address);
  }
}

/** A subnet whose first address is the gateway's. */
export function plainPool(subnet: string): Pool {
  const parsed = parseSubnet(subnet);
  if (parsed === null) return { subnet, gateway: '', aux: {} };
  const gateway = parsed.last - parsed.first < 2n ? parsed.first : parsed.first + 1n;
  return { subnet, gateway: formatAddress(parsed.family, gateway), aux: {} };
}

/** The first and the last address of a subnet, which nobody has; those of the smallest subnets are addresses like others. */
export function endsOf({ family, first, last }: AddressRange): bigint[] {
  if (last - first < 2n) return [];
  return family === 4 ? [first, last] : [first];
}
