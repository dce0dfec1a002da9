/**
 * What Docker's resource options mean for a container that is a virtual machine: the VM has the processors and memory, and a control
 * group in the guest holds the container's processes to what was asked for (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).
 */

import type { VchConfig } from '../../../../port-layer/config.js';
import type { ContainerSpec } from '../../../../port-layer/index.js';
import { invalid } from '../../../../src/common/errors.js';
import { type HostConfig, hostOptions } from './host-options.js';

const DEFAULT_PERIOD = 100_000;
const MIN_MEMORY = 6 * 2 ** 20;
/** Memory for the VM's kernel and the tether, on top of what the container asked for. */
const OVERHEAD_MIB = 64;
/** More of it for containers of which nothing may be killed: the container must reach its limit before the VM runs out of memory. */
const SPARE_MIB = 32;
/** The memory of a VM is a multiple of this in vSphere. */
const MEMORY_STEP_MIB = 4;
const [MIN_SHARES, MAX_SHARES] = [2, 262_144];
/** The most that vSphere accepts. */
const MAX_VM_SHARES = 1_000_000;
/** The kernel's default for a control group. */
const USUAL_WEIGHT = '100';

/**
 * As Docker completes what was asked for: memory and swap together are twice the memory, "no limit of processes" is null, and what it
 * discards with a warning is empty.
 */
export function completed(host: HostConfig): HostConfig {
  const result: HostConfig = { ...host };
  if ((host.Memory ?? 0) > 0 && !host.MemorySwap) result.MemorySwap = host.Memory! * 2;
  if (typeof host.PidsLimit === 'number' && host.PidsLimit <= 0) delete result.PidsLimit;
  for (const [name, { status }] of hostOptions)
    if (status.is === 'discarded' && host[name]) Object.assign(result, { [name]: status.empty });
  return result;
}

/** What the resource options make of a new container. @param hostCpus processors of the host @throws invalid in Docker's words */
export function applyResources(
  spec: ContainerSpec,
  host: HostConfig,
  defaults: VchConfig['container'],
  hostCpus: number,
): void {
  checkResources(host, hostCpus);
  spec.cpus = processors(host, defaults.cpus, hostCpus);
  spec.memoryMiB = memory(host, defaults.memoryMiB);
  Object.assign(spec, vmShares(host, spec.cpus));
  spec.limits = limitsOf(host, spec.memoryMiB);
  Object.assign(spec.sysctls, kernelSettings(host));
}

/** True when the number of the host's processors matters to a request. */
export function asksForCpus(host: HostConfig): boolean {
  return Boolean(host.NanoCpus || host.CpusetCpus || (host.CpuQuota ?? 0) > 0);
}

/**
 * @param available processors of the host
 * @param updating fields that are not set keep their value, so that they cannot be missing
 * @throws invalid in Docker's words
 */
export function checkResources(host: HostConfig, available: number, updating = false): void {
  checkMemory(host, updating);
  const swappiness = host.MemorySwappiness ?? -1;
  if (swappiness < -1 || swappiness > 100)
    throw invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0 } = host;
  if (nano && period) throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  if (nano && quota) throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  if (nano !== null && (nano < 0 || nano > available * 1e9))
    throw invalid(`range of CPUs is from 0.01 to ${available}.00, as there are only ${available} CPUs available`);
  if (period && (period < 1000 || period > 1_000_000))
    throw invalid('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  if (quota && quota > 0 && quota < 1000) throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  const shares = host.CpuShares ?? 0;
  if (shares < 0) throw invalid(`invalid CPU shares (${shares}): value must be a positive integer`);
  cpuSet(host.CpusetCpus ?? '', available);
  checkMemoryNodes(host.CpusetMems ?? '');
}

/** A virtual machine has one memory node. */
function checkMemoryNodes(set: string): void {
  if (set === '') return;
  if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(set))
    throw invalid(`Invalid value ${set} for cpuset mems: invalid format: ${set}`);
  if (!/^0(-0)?(,0(-0)?)*$/.test(set))
    throw invalid(`Requested memory nodes are not available - requested ${set}, available: 0`);
}

/** The VM has no swap, so that memory alone never exceeds a limit on memory and swap together. */
function checkMemory(host: HostConfig, updating: boolean): void {
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
  if (bytes === 0 && swap > 0 && !updating)
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
 * Processors of the virtual machine. It can only have whole ones: a set of n gives it n, fractions are rounded up.
 * @param available processors of the host
 */
export function processors(host: HostConfig, fallback: number, available: number): number {
  const inSet = cpuSet(host.CpusetCpus ?? '', available).size;
  const limit = Number(quota(host));
  if (Number.isNaN(limit)) return inSet || fallback;
  const whole = Math.max(1, Math.min(Math.ceil(limit / (host.CpuPeriod || DEFAULT_PERIOD)), available));
  return inSet > 0 ? Math.min(whole, inSet) : whole;
}

/** Memory of the virtual machine in MiB: what the container asked for, and the overhead on top. */
export function memory(host: HostConfig, fallbackMiB: number): number {
  if (!host.Memory || host.Memory <= 0) return fallbackMiB;
  const needed = (megabytes: number): number => Math.ceil(megabytes / MEMORY_STEP_MIB) * MEMORY_STEP_MIB;
  const asked = host.Memory / 2 ** 20 + OVERHEAD_MIB;
  // Processes that wait for memory must be able to get some by `update` without a restart, so the VM has the usual amount at least.
  return host.OomKillDisable === true ? Math.max(needed(asked + SPARE_MIB), fallbackMiB) : needed(asked);
}

/**
 * Bytes that the container's processes may use. If none of them may be killed, that is less than the virtual machine has, whatever was
 * asked for: a kernel that runs out of memory and has nothing to kill panics.
 */
function memoryLimit(host: HostConfig, machineMiB: number): number {
  const asked = host.Memory && host.Memory > 0 ? host.Memory : 0;
  if (host.OomKillDisable !== true) return asked;
  const most = Math.max(machineMiB - OVERHEAD_MIB - SPARE_MIB, MIN_MEMORY / 2 ** 20) * 2 ** 20;
  return asked === 0 ? most : Math.min(asked, most);
}

/** Docker's warnings of what it discards because the kernel has no such thing, and of memory without a limit. */
export function resourceWarnings(host: HostConfig): string[] {
  const warnings = hostOptions.flatMap(([name, { status }]) => {
    const value = host[name];
    const asked = Array.isArray(value) ? value.length > 0 : Number(value ?? 0) > 0;
    return status.is === 'discarded' && asked ? [status.warning] : [];
  });
  if (host.OomKillDisable === true && !(host.Memory && host.Memory > 0))
    warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.',
    );
  return warnings;
}

/**
 * All limits by cgroup file; `max` (`0` for a guarantee) where the options ask for none.
 * @param machineMiB memory of the virtual machine
 */
export function allLimits(host: HostConfig, machineMiB: number): Record<string, string> {
  return {
    'memory.max': amount(memoryLimit(host, machineMiB)),
    'memory.low': host.MemoryReservation && host.MemoryReservation > 0 ? String(host.MemoryReservation) : '0',
    'cpu.weight': host.CpuShares ? String(weight(host.CpuShares)) : USUAL_WEIGHT,
    'cpu.max': `${quota(host)} ${host.CpuPeriod || DEFAULT_PERIOD}`,
    'pids.max': amount(host.PidsLimit),
  };
}

/** The limits of a new container, without those that have their usual value. */
function limitsOf(host: HostConfig, machineMiB: number): Record<string, string> {
  const usual = allLimits({}, machineMiB);
  return Object.fromEntries(
    Object.entries(allLimits(host, machineMiB)).filter(([file, value]) => value !== usual[file]),
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

/** Converts shares (2 to 262144, usually 1024) to a weight of cgroup version 2 (1 to 10000), as runc does. */
function weight(shares: number): number {
  const bounded = Math.min(Math.max(shares, MIN_SHARES), MAX_SHARES);
  return 1 + Math.floor(((bounded - MIN_SHARES) * 9999) / (MAX_SHARES - MIN_SHARES));
}

/** Kernel settings of the VM that carry out options other than `--sysctl`. */
function kernelSettings(host: HostConfig): Record<string, string> {
  // A process that gets no memory tries again at once; the kernel must not log a list of all processes each time.
  const quiet: Record<string, string> = host.OomKillDisable === true ? { 'vm.oom_dump_tasks': '0' } : {};
  const swappiness = host.MemorySwappiness ?? -1;
  if (swappiness === -1) return quiet;
  return { ...quiet, 'vm.swappiness': String(swappiness) };
}

/**
 * `--storage-opt size=`: bytes that the container's root filesystem, image and all, may take.
 * @param largest size of the image store's disks, in bytes
 * @throws invalid
 */
export function rootSize(options: Record<string, string>, largest: number): number | undefined {
  let size: number | undefined;
  for (const [key, value] of Object.entries(options)) {
    if (key.toLowerCase() !== 'size') throw invalid(`Unknown option ${key}`);
    size = byteSize(value);
  }
  if (size !== undefined && size > largest)
    throw invalid(`--storage-opt size=: the disks of the image store have ${largest / 2 ** 30} GiB`);
  return size;
}

/** `10G`, `512m`, `1.5GiB`: powers of 1024, as go-units' RAMInBytes. @throws invalid */
function byteSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text);
  const bytes =
    match === null ? 0 : Number(match[1]) * 1024 ** ['', 'k', 'm', 'g', 't', 'p'].indexOf(match[2]!.toLowerCase());
  if (bytes < 1) throw invalid(`invalid size: '${text}'`);
  return Math.floor(bytes);
}

/** Converts `--cpu-shares` (usually 1024) to shares of a VM (usually 1000 for each processor). */
export function vmShares({ CpuShares }: HostConfig, cpus: number): { cpuShares?: number } {
  if (!CpuShares) return {};
  const bounded = Math.min(Math.max(CpuShares, MIN_SHARES), MAX_SHARES);
  return { cpuShares: Math.min(MAX_VM_SHARES, Math.max(1, Math.round((bounded * cpus * 1000) / 1024))) };
}
