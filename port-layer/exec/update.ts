/** Changes what a container may use, whether it runs or not. */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { PortLayerError } from '../errors.js';
import type { Container } from './container.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { keptSpec } from './kept-spec.js';
import type { ResourceUpdate } from './types.js';
import { SPEC_KEY } from './vm-spec.js';

const log = logger('exec');

/** See `ExecService.update`. Callers must hold the container ({@link Container.exclusive}). */
export async function updateResources(
  { client }: ExecContext,
  container: Container,
  { cpus, memoryMiB, cpuShares, limits, limitsNow, annotations }: ResourceUpdate,
): Promise<{ cpus: number; memoryMiB: number }> {
  if (container.leaving)
    throw new PortLayerError('container.beingRemoved', { container: container.id, hinders: 'update' });
  const { hardware: pending, ...former } = container.spec;
  const has =
    pending !== undefined
      ? { cpus: pending.cpus, memoryMiB: pending.memoryMiB }
      : { cpus: former.cpus, memoryMiB: former.memoryMiB };
  const wanted = { cpus, memoryMiB };
  const same = has.cpus === cpus && has.memoryMiB === memoryMiB;
  const later = container.running && !same;
  if (container.running && !container.paused) await container.channel?.limit(limitsNow ?? limits);
  const spec: ContainerSpec = {
    ...former,
    ...wanted,
    ...(cpuShares === undefined ? {} : { cpuShares }),
    limits,
    annotations: { ...former.annotations, ...annotations },
    ...(later ? { hardware: { ...has, ...(limitsNow === undefined ? {} : { limits: limitsNow }) } } : {}),
  };
  await change(client, container.vm, container.machine.changeVersion, (handle) => {
    handle.key(SPEC_KEY, keptSpec(spec));
    if (!container.running && !same) handle.hardware(wanted);
    if (cpuShares !== undefined && cpuShares !== former.cpuShares) handle.cpuShares(cpuShares);
  });
  container.spec = spec;
  return later ? has : wanted;
}

/** Applies the limits that were changed while it was paused. */
export function renewLimits(container: Container): void {
  const limits = container.spec.hardware?.limits ?? container.spec.limits;
  if (limits === undefined || container.channel === null) return;
  container.channel
    .limit(limits)
    .catch((error: unknown) =>
      log.warn(
        { container: container.id, err: messageOf(error) },
        'the limits of a container that goes on were not renewed',
      ),
    );
}
