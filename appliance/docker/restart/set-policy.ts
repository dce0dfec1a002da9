/** Gives a container another restart policy (`docker update --restart`). */
import type { ExecService } from '../../../port-layer/index.js';
import { conflict } from '../../../src/common/errors.js';
import { annotationsOf, intactRecord } from '../containers/container-record.js';
import type { RestartSupervisor } from './restart-supervisor.js';

/**
 * The policy must have been checked already. It applies from the container's next end on.
 * @throws conflict in Docker's words for a container that is removed when it ends
 */
export async function setRestartPolicy(
  exec: Pick<ExecService, 'resolve' | 'annotate'>,
  restarts: Pick<RestartSupervisor, 'policyChanged'>,
  id: string,
  policy: { Name: string; MaximumRetryCount: number },
): Promise<void> {
  const container = exec.resolve(id);
  const host = intactRecord(container).hostConfig;
  if (host.AutoRemove === true && policy.Name !== 'no' && policy.Name !== '')
    throw conflict('Restart policy cannot be updated because AutoRemove is enabled for the container');
  await exec.annotate(container.spec.id, {
    ...annotationsOf({ hostConfig: { ...host, RestartPolicy: policy } }),
    ...restarts.policyChanged(container),
  });
}
