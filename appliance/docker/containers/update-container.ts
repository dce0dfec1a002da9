/** `docker update`, without HTTP: what a container may use, and its restart policy. */
import type { VchConfig } from '../../../port-layer/config.js';
import type { ContainerInfo, ExecService, HostInfo, ObserveService } from '../../../port-layer/index.js';
import { CaissonError, conflict, kindOf } from '../../../src/common/errors.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import type { RestartSupervisor } from '../restart/restart-supervisor.js';
import { setRestartPolicy } from '../restart/set-policy.js';
import { dockerMessage } from '../words/docker-message.js';
import type { HostConfig } from './config/host-options.js';
import { checkUpdate, joinUpdate, type UpdateBody, updateWarnings } from './config/resource-update.js';
import { allLimits, asksForCpus, memory, processors, vmShares } from './config/resources.js';
import { annotationsOf, intactRecord } from './container-record.js';
import { isUp } from './container-state.js';

/** What an update needs of the rest of the engine. */
export interface UpdateParts {
  exec: Pick<ExecService, 'annotate' | 'resolve' | 'update'>;
  observe: Pick<ObserveService, 'meter'>;
  restarts: Pick<RestartSupervisor, 'policyChanged'>;
  config: Pick<VchConfig, 'container'>;
  hostInfo(): Promise<Pick<HostInfo, 'cpus'>>;
  publish: PublishContainerEvent;
}

/** @returns warnings, null without any @throws invalid, notFound, conflict, unsupported in Docker's words */
export async function updateContainer(
  parts: UpdateParts,
  reference: string,
  wanted: UpdateBody,
): Promise<string[] | null> {
  checkUpdate(wanted, await availableCpus(parts, wanted));
  const container = parts.exec.resolve(reference);
  const { id } = container.spec;
  let warnings: string[] | null;
  try {
    warnings = await carryOut(parts, container, wanted);
  } catch (error) {
    throw new CaissonError(kindOf(error), `Cannot update container ${id}: ${dockerMessage(error)}`, { cause: error });
  }
  parts.publish(parts.exec.resolve(id), 'update');
  return warnings;
}

async function carryOut(parts: UpdateParts, container: ContainerInfo, wanted: UpdateBody): Promise<string[] | null> {
  const { exec, restarts } = parts;
  const { id } = container.spec;
  const before = intactRecord(container).hostConfig;
  const host = joinUpdate(before, wanted);
  const { Name: policy = '', MaximumRetryCount = 0 } = wanted.RestartPolicy ?? {};
  const changed = JSON.stringify(host) !== JSON.stringify(before);
  const warnings = changed
    ? await changeResources(parts, container, wanted, host)
    : updateWarnings(wanted, NOTHING, NOTHING);
  if (policy !== '') await setRestartPolicy(exec, restarts, id, { Name: policy, MaximumRetryCount });
  return warnings;
}

const NOTHING = { cpus: 0, memoryMiB: 0 };

async function changeResources(
  parts: UpdateParts,
  container: ContainerInfo,
  wanted: UpdateBody,
  host: HostConfig,
): Promise<string[] | null> {
  await checkUse(parts, container, host);
  const { cpus, memoryMiB } = parts.config.container;
  const asked = {
    cpus: processors(host, cpus, await availableCpus(parts, host)),
    memoryMiB: memory(host, memoryMiB),
  };
  const has = await parts.exec.update(container.spec.id, {
    ...asked,
    ...vmShares(host, asked.cpus),
    limits: allLimits(host, asked.memoryMiB),
    ...(isUp(container) ? { limitsNow: allLimits(host, (container.spec.hardware ?? container.spec).memoryMiB) } : {}),
    annotations: annotationsOf({ hostConfig: host }),
  });
  return updateWarnings(wanted, asked, has);
}

/** Processors of the host. It is asked only where they matter. */
async function availableCpus({ hostInfo }: Pick<UpdateParts, 'hostInfo'>, host: HostConfig): Promise<number> {
  return asksForCpus(host) ? (await hostInfo()).cpus : Number.POSITIVE_INFINITY;
}

/** A limit below what is used now would have processes killed at once. It is refused, as runc does. */
async function checkUse(
  { observe }: Pick<UpdateParts, 'observe'>,
  container: ContainerInfo,
  { Memory: limit }: HostConfig,
): Promise<void> {
  const unchanged = limit === intactRecord(container).hostConfig.Memory;
  if (!isUp(container) || container.paused || !limit || limit <= 0 || unchanged) return;
  const meter = await observe.meter(container.spec.id);
  try {
    const { memory: used } = await meter.read();
    // The kernel can let go of pages that are copies of files.
    const needed = used.usage - (used.stat.file ?? 0) + (used.stat.shmem ?? 0);
    if (limit < needed)
      throw conflict(
        `unable to set memory limit to ${limit} (current usage: ${needed}): the container uses more than that`,
      );
  } finally {
    meter.close();
  }
}
