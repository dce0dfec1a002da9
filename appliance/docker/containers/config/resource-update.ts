/** `POST /containers/{id}/update`: joins an update to a container's options, as Docker does. */
import { conflict, invalid, unsupported } from '../../../../src/common/errors.js';
import { goType } from '../../../../src/common/go-json.js';
import { atLeast } from '../../http/api-version.js';
import { checkRestartPolicy, isEmpty } from './check-host-options.js';
import type { Update } from './host-option.js';
import { type HostConfig, type HostField, hostConfigSchema, hostOptions } from './host-options.js';
import { checkResources, resourceWarnings } from './resources.js';

/** The options that an update may have, and what it does with each. */
const UPDATES = hostOptions.flatMap(([name, { update }]): [HostField, Update][] =>
  update === undefined ? [] : [[name, update]],
);

/** The body: the resources of a HostConfig, and a restart policy. */
export const updateSchema = goType(
  'container.UpdateConfig',
  // The type has all fields of HostConfig. That is harmless, for each of them may be left out.
  hostConfigSchema.pick(Object.fromEntries(UPDATES.map(([name]) => [name, true])) as Record<HostField, true>),
);

export type UpdateBody = HostConfig;

/** Takes out what the API version of the client did not know. */
export function updateOf(wanted: UpdateBody, apiVersion: string): UpdateBody {
  const known = UPDATES.filter(([, { since }]) => since === undefined || atLeast(apiVersion, since));
  const names = new Set<string>(known.map(([name]) => name));
  return Object.fromEntries(Object.entries(wanted).filter(([name]) => names.has(name)));
}

/** Checks an update by itself, for any container. @param available processors of the host @throws invalid, unsupported */
export function checkUpdate(wanted: UpdateBody, available: number): void {
  checkRestartPolicy({ RestartPolicy: wanted.RestartPolicy });
  if (wanted.IOMaximumIOps || wanted.IOMaximumBandwidth)
    throw invalid('Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps');
  checkResources(wanted, available, true);
  for (const [name, update] of UPDATES)
    if (update.is === 'refused' && !isEmpty(wanted[name]))
      throw unsupported(`${name} is not implemented${update.because === undefined ? '' : `: ${update.because}`}`);
}

/** The options of a container after an update. @throws conflict, invalid in Docker's words */
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
  for (const [name, update] of UPDATES) {
    const value = wanted[name];
    if (update.is !== 'joined' || value === undefined || value === null) continue;
    if (update.evenZero === true || !isEmpty(value)) Object.assign(joined, { [name]: value });
  }
  const [memory, swap] = [joined.Memory ?? 0, joined.MemorySwap ?? 0];
  if (swap > 0 && swap < memory)
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  const policy = wanted.RestartPolicy?.Name ?? '';
  if (host.AutoRemove === true && policy !== '' && policy !== 'no')
    throw conflict('Restart policy cannot be updated because AutoRemove is enabled for the container');
  return joined;
}

/** Warnings of what is discarded, and of what takes effect at the next start. @param has what the VM has until then */
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
