/**
 * What Docker's resource options mean for a container that is a virtual machine: the VM has the processors and memory, and a control
 * group in the guest holds the container's processes to what was asked for (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).
 */
import { invalid } from '../../src/common/errors.js';
import type { HostConfig } from './container-config.js';

const DEFAULT_PERIOD = 100_000;
const MIN_MEMORY = 6 * 2 ** 20;
/** What the VM's kernel and tether take of its memory, on top of what the container asked for. */
const OVERHEAD_MIB = 64;

/** As Docker completes what was asked for: memory and swap together are twice the memory, and no limit of processes is null. */
export function adaptResources(host: HostConfig): HostConfig {
  const adapted = { ...host };
  if ((host.Memory ?? 0) > 0 && !host.MemorySwap) adapted.MemorySwap = host.Memory! * 2;
  if (host.PidsLimit !== undefined && host.PidsLimit !== null && host.PidsLimit <= 0) delete adapted.PidsLimit;
  return adapted;
}

/** @param available processors of the host @throws invalid in Docker's words */
export function checkResources(host: HostConfig, available: number): void {
  checkMemory(host);
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0 } = host;
  if (nano && period) throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  if (nano && quota) throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  if (nano !== null && (nano < 0 || nano > available * 1e9))
    throw invalid(`range of CPUs is from 0.01 to ${available}.00, as there are only ${available} CPUs available`);
  if (period && (period < 1000 || period > 1_000_000))
    throw invalid('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  if (quota && quota > 0 && quota < 1000) throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  cpuSet(host.CpusetCpus ?? '', available);
}

/** The machine has no swap: any limit on memory and swap together that memory keeps to is kept. */
function checkMemory(host: HostConfig): void {
  const {
    memory: bytes,
    swap,
    reservation,
  } = {
    memory: host.Memory ?? 0,
    swap: host.MemorySwap ?? 0,
    reservation: host.MemoryReservation ?? 0,
  };
  if (bytes !== 0 && bytes < MIN_MEMORY) throw invalid('Minimum memory limit allowed is 6MB');
  if (bytes === 0 && swap > 0)
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  if (swap > 0 && swap < bytes) throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  if (reservation !== 0 && reservation < MIN_MEMORY) throw invalid('Minimum memory reservation allowed is 6MB');
  if (bytes > 0 && bytes < reservation)
    throw invalid('Minimum memory limit can not be less than memory reservation limit, see usage');
}

/** The processors of a set such as `0-2,5`. @throws invalid */
function cpuSet(set: string, available: number): Set<number> {
  if (set !== '' && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(set))
    throw invalid(`Invalid value ${set} for cpuset cpus: invalid format: ${set}`);
  return new Set(set === '' ? [] : set.split(',').flatMap((part) => cpus(part, set, available)));
}

function cpus(part: string, set: string, available: number): number[] {
  const [from = 0, to = from] = part.split('-').map(Number);
  if (to < from) throw invalid(`Invalid value ${set} for cpuset cpus: invalid format: ${set}`);
  if (to >= available)
    throw invalid(`Requested CPUs are not available - requested ${set}, available: 0-${available - 1}`);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/**
 * Processors of the virtual machine. It has whole ones of its own: a set of n gives it n, a share of them is rounded up.
 * @param available of the host
 */
export function processors(host: HostConfig, fallback: number, available: number): number {
  if (host.NanoCpus && host.NanoCpus > 0) return Math.max(1, Math.ceil(host.NanoCpus / 1e9));
  return cpuSet(host.CpusetCpus ?? '', available).size || fallback;
}

/** Memory of the virtual machine in MiB: what was asked for is the container's, the kernel's comes on top. */
export function memory(host: HostConfig, fallbackMiB: number): number {
  return host.Memory && host.Memory > 0 ? Math.ceil(host.Memory / 2 ** 20) + OVERHEAD_MIB : fallbackMiB;
}

/** Every limit that this table knows, `max` (`0` for a guarantee) where the options ask for none. */
export function allLimits(host: HostConfig): Record<string, string> {
  return {
    'memory.max': amount(host.Memory),
    'memory.low': host.MemoryReservation && host.MemoryReservation > 0 ? String(host.MemoryReservation) : '0',
    'cpu.max': `${quota(host)} ${host.CpuPeriod || DEFAULT_PERIOD}`,
    'pids.max': amount(host.PidsLimit),
  };
}

/** The limits of a container that is made: what asks for nothing is left out. */
export function limitsOf(host: HostConfig): Record<string, string> {
  return Object.fromEntries(
    Object.entries(allLimits(host)).filter(([, value]) => value !== '0' && !value.startsWith('max')),
  );
}

function amount(value: number | null | undefined): string {
  return value && value > 0 ? String(value) : 'max';
}

/** Microseconds of processor time in a period. */
function quota({ NanoCpus, CpuQuota }: HostConfig): string {
  if (NanoCpus && NanoCpus > 0) return String(Math.max(1000, Math.round((NanoCpus / 1e9) * DEFAULT_PERIOD)));
  return CpuQuota && CpuQuota > 0 ? String(CpuQuota) : 'max';
}
