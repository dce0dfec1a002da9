/** A VM's share of the host's processors and memory, as vim25 shows it. */
import { sharesInfo } from '../cpu-shares.js';
import type { VmConfig } from '../vm-config.js';

/** ResourceAllocationInfo for both. */
export interface Allocations {
  cpuAllocation: object;
  memoryAllocation: object;
}

export function allocations({ cpus, cpuShares, memoryMiB }: VmConfig): Allocations {
  const allocation = (shares: object): object => ({ reservation: 0, expandableReservation: false, limit: -1, shares });
  return {
    cpuAllocation: allocation(sharesInfo(cpuShares, cpus)),
    memoryAllocation: allocation({ level: 'normal', shares: 10 * memoryMiB }),
  };
}
