/** Docker's words for the state of a container. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import { humanDuration } from '../values/human.js';
import { PLAIN_LIFE } from './container-life.js';

/** Its process runs, or is being stopped. */
export function isUp(container: ContainerInfo): boolean {
  return container.state === 'running' || container.state === 'stopping';
}

/** `State.Status` of `inspect`, `State` of a row of `ps`. */
export function dockerState(container: ContainerInfo, life = PLAIN_LIFE): string {
  if (life.restarting) return 'restarting';
  if (container.paused) return 'paused';
  switch (container.state) {
    case 'starting':
      return 'created';
    case 'stopping':
      return 'running';
    default:
      return container.state;
  }
}

/** `Up 5 minutes`, `Exited (0) 2 hours ago`, `Created` … */
export function statusText(container: ContainerInfo, life = PLAIN_LIFE, now = Date.now()): string {
  const ago = (since: Date | null): string => humanDuration(now - (since?.getTime() ?? now));
  if (life.restarting) return `Restarting (${container.exitCode}) ${ago(container.finishedAt)} ago`;
  if (container.paused) return `Up ${ago(container.startedAt)} (Paused)`;
  const health =
    life.health === null ? '' : ` (${life.health.status === 'starting' ? 'health: ' : ''}${life.health.status})`;
  switch (container.state) {
    case 'running':
    case 'stopping':
      return `Up ${ago(container.startedAt)}${health}`;
    case 'exited':
      return `Exited (${container.exitCode}) ${ago(container.finishedAt)} ago`;
    case 'removing':
      return 'Removal In Progress';
    case 'dead':
      return 'Dead';
    default:
      return 'Created';
  }
}
