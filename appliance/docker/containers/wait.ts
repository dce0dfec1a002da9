/** Waits for a container as Docker does: one that is about to be restarted still counts as running. */
import type { ExecService, ExitStatus, WaitCondition } from '../../../port-layer/index.js';
import { cancelled } from '../../../src/common/errors.js';
import type { RestartSupervisor } from '../restart/restart-supervisor.js';

export async function waitForContainer(
  exec: Pick<ExecService, 'resolve' | 'wait'>,
  restarts: Pick<RestartSupervisor, 'isRestarting' | 'notRestarted'>,
  reference: string,
  condition: WaitCondition,
  signal: AbortSignal,
): Promise<ExitStatus> {
  const container = exec.resolve(reference);
  const { id } = container.spec;
  if (condition === 'removed' || !restarts.isRestarting(id)) return exec.wait(id, condition, signal);
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const givenUp = restarts.notRestarted(id, either).then((): ExitStatus => {
    if (either.aborted) throw cancelled('the wait was cancelled');
    const { exitCode, oomKilled, error } = container;
    return { exitCode, oomKilled, error };
  });
  try {
    return await Promise.race([exec.wait(id, 'next-exit', either), givenUp]);
  } finally {
    over.abort();
    givenUp.catch(() => undefined);
  }
}
