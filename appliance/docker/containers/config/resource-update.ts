/** `POST /containers/{id}/update`: what is asked for joined to what there is, as Docker joins them. */
import type { z } from 'zod';
import { conflict, invalid, unsupported } from '../../../../src/common/errors.js';
import { goType } from '../../../../src/common/go-json.js';
import { type HostConfig, hostConfigSchema } from './container-config.js';
import { checkRestartPolicy } from './host-options.js';
import { checkResources, resourceWarnings } from './resources.js';

/** The body: the resources of a HostConfig, and a restart policy. */
export const updateSchema = goType(
  'container.UpdateConfig',
  hostConfigSchema.pick({
    CpuShares: true,
    CpuPeriod: true,
    CpuQuota: true,
    CpusetCpus: true,
    CpusetMems: true,
    NanoCpus: true,
    Memory: true,
    MemorySwap: true,
    MemoryReservation: true,
    OomKillDisable: true,
    PidsLimit: true,
    RestartPolicy: true,
    BlkioWeight: true,
    BlkioWeightDevice: true,
    BlkioDeviceReadBps: true,
    BlkioDeviceWriteBps: true,
    BlkioDeviceReadIOps: true,
    BlkioDeviceWriteIOps: true,
    CpuRealtimePeriod: true,
    CpuRealtimeRuntime: true,
    // Docker changes nothing of these, whatever they say, but checks them.
    CgroupParent: true,
    Devices: true,
    DeviceCgroupRules: true,
    DeviceRequests: true,
    MemorySwappiness: true,
    Ulimits: true,
    CpuCount: true,
    CpuPercent: true,
    IOMaximumIOps: true,
    IOMaximumBandwidth: true,
    KernelMemory: true,
    KernelMemoryTCP: true,
  }),
);

export type UpdateBody = z.infer<typeof updateSchema>;

/** Limits of single devices. */
export const DEVICE_RATES = [
  'BlkioDeviceReadBps',
  'BlkioDeviceWriteBps',
  'BlkioDeviceReadIOps',
  'BlkioDeviceWriteIOps',
] as const;

/** What stays as it is when it is 0 or empty. */
const KEPT_WHEN_EMPTY = [
  'CpuShares',
  'CpuPeriod',
  'CpuQuota',
  'CpusetCpus',
  'CpusetMems',
  'NanoCpus',
  'Memory',
  'MemorySwap',
  'MemoryReservation',
] as const;

/** @param available processors of the host @throws invalid, unsupported for what is wrong whatever container it is for */
export function checkUpdate(wanted: UpdateBody, available: number): void {
  checkRestartPolicy({ RestartPolicy: wanted.RestartPolicy });
  if (wanted.IOMaximumIOps || wanted.IOMaximumBandwidth)
    throw invalid('Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps');
  checkResources(wanted, available, true);
  for (const name of DEVICE_RATES)
    if ((wanted[name] ?? []).length > 0)
      throw unsupported(`${name} is not implemented: a virtual machine has no devices of its host's`);
  for (const name of ['CpuRealtimePeriod', 'CpuRealtimeRuntime'] as const)
    if (wanted[name]) throw unsupported(`${name} is not implemented`);
}

/** The host configuration of a container with an update. @throws conflict, invalid in Docker's words */
export function joinUpdate(host: HostConfig, wanted: UpdateBody): HostConfig {
  const joined: HostConfig = { ...host };
  const both = (one: number | null | undefined, other: number | null | undefined): boolean =>
    (one ?? 0) > 0 && (other ?? 0) > 0;
  if (both(wanted.NanoCpus, host.CpuPeriod))
    throw conflict('Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set');
  if (both(wanted.NanoCpus, host.CpuQuota))
    throw conflict('Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set');
  if (both(wanted.CpuPeriod, host.NanoCpus))
    throw conflict('Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set');
  if (both(wanted.CpuQuota, host.NanoCpus))
    throw conflict('Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set');
  if (wanted.Memory && wanted.Memory > (host.MemorySwap ?? 0) && !wanted.MemorySwap)
    throw conflict(
      'Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time',
    );
  for (const name of KEPT_WHEN_EMPTY) if (wanted[name]) Object.assign(joined, { [name]: wanted[name] });
  if (typeof wanted.PidsLimit === 'number') joined.PidsLimit = wanted.PidsLimit;
  const [memory, swap] = [joined.Memory ?? 0, joined.MemorySwap ?? 0];
  if (swap > 0 && swap < memory)
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  const policy = wanted.RestartPolicy?.Name ?? '';
  if (host.AutoRemove === true && policy !== '' && policy !== 'no')
    throw conflict('Restart policy cannot be updated because AutoRemove is enabled for the container');
  return joined;
}

/** What is not as it was asked for, or not yet. @param has what the VM has until it is started again */
export function updateWarnings(
  wanted: UpdateBody,
  asked: { cpus: number; memoryMiB: number },
  has: { cpus: number; memoryMiB: number },
): string[] | null {
  const warnings = resourceWarnings(wanted);
  if (wanted.Memory && asked.memoryMiB > has.memoryMiB)
    warnings.push(
      `The virtual machine has ${has.memoryMiB} MiB of memory until the container is started again, which then has ${asked.memoryMiB} MiB.`,
    );
  if ((wanted.NanoCpus || wanted.CpuQuota || wanted.CpusetCpus) && asked.cpus > has.cpus)
    warnings.push(
      `The virtual machine has ${has.cpus} ${has.cpus === 1 ? 'CPU' : 'CPUs'} until the container is started again, which then has ${asked.cpus}.`,
    );
  return warnings.length === 0 ? null : warnings;
}
