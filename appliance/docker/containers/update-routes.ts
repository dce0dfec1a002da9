/** The route that changes what a container may use, and its restart policy. */
import type { Router } from 'express';
import type { ContainerInfo } from '../../../port-layer/index.js';
import { CaissonError, conflict, kindOf } from '../../../src/common/errors.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { body, versionOf } from '../http/request.js';
import { setRestartPolicy } from '../restart/set-policy.js';
import { dockerMessage } from '../words/docker-message.js';
import {
  checkUpdate,
  DEVICE_RATES,
  joinUpdate,
  type UpdateBody,
  updateSchema,
  updateWarnings,
} from './config/resource-update.js';
import { allLimits, asksForCpus, memory, processors, vmShares } from './config/resources.js';
import { annotationsOf, intactRecord } from './container-record.js';
import { isUp } from './container-state.js';

/** Adds the route. */
export function updateRoutes(router: Router, engine: Engine): void {
  router.post('/containers/:id/update', async (request, response) => {
    const wanted = await body(request, updateSchema);
    // It came with 1.40, and is not heard of before.
    if (!atLeast(versionOf(request), '1.40')) wanted.PidsLimit = undefined;
    // Those of single devices came with 1.55.
    if (!atLeast(versionOf(request), '1.55'))
      for (const name of ['BlkioWeightDevice', ...DEVICE_RATES] as const) wanted[name] = undefined;
    checkUpdate(wanted, asksForCpus(wanted) ? (await engine.portLayer.hostInfo()).cpus : Number.POSITIVE_INFINITY);
    const container = engine.portLayer.exec.resolve(request.params.id);
    let warnings: string[] | null;
    try {
      warnings = await update(engine, container, wanted);
    } catch (error) {
      throw new CaissonError(kindOf(error), `Cannot update container ${container.spec.id}: ${dockerMessage(error)}`, {
        cause: error,
      });
    }
    engine.publish(engine.portLayer.exec.resolve(container.spec.id), 'update');
    response.json({ Warnings: warnings });
  });
}

async function update(engine: Engine, container: ContainerInfo, wanted: UpdateBody): Promise<string[] | null> {
  const { exec } = engine.portLayer;
  const before = intactRecord(container).hostConfig;
  const host = joinUpdate(before, wanted);
  const { Name: policy = '', MaximumRetryCount = 0 } = wanted.RestartPolicy ?? {};
  let warnings: string[] | null = updateWarnings(wanted, NOTHING, NOTHING);
  if (JSON.stringify(host) !== JSON.stringify(before)) {
    await checkUse(engine, container, before, host);
    const available = asksForCpus(host) ? (await engine.portLayer.hostInfo()).cpus : Number.POSITIVE_INFINITY;
    const { cpus, memoryMiB } = engine.config.container;
    const asked = { cpus: processors(host, cpus, available), memoryMiB: memory(host, memoryMiB) };
    const has = await exec.update(container.spec.id, {
      ...asked,
      ...vmShares(host, asked.cpus),
      limits: allLimits(host, asked.memoryMiB),
      ...(isUp(container) ? { limitsNow: allLimits(host, (container.spec.hardware ?? container.spec).memoryMiB) } : {}),
      annotations: annotationsOf({ hostConfig: host }),
    });
    warnings = updateWarnings(wanted, asked, has);
  }
  if (policy !== '')
    await setRestartPolicy(exec, engine.restarts, container.spec.id, { Name: policy, MaximumRetryCount });
  return warnings;
}

const NOTHING = { cpus: 0, memoryMiB: 0 };

/** A limit below what is used now would have processes killed at once: it is refused, as runc does. */
async function checkUse(
  engine: Engine,
  container: ContainerInfo,
  before: { Memory?: number | null | undefined },
  { Memory: limit }: { Memory?: number | null | undefined },
): Promise<void> {
  if (!isUp(container) || container.paused || !limit || limit <= 0 || limit === before.Memory) return;
  const meter = await engine.portLayer.observe.meter(container.spec.id);
  try {
    const { memory: used } = await meter.read();
    // Of its files' pages the kernel lets go.
    const needed = used.usage - (used.stat.file ?? 0) + (used.stat.shmem ?? 0);
    if (limit < needed)
      throw conflict(
        `unable to set memory limit to ${limit} (current usage: ${needed}): the container uses more than that`,
      );
  } finally {
    meter.close();
  }
}
