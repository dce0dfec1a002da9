/** Which disks outlive a container: a VM that writes to one must shut down in order, to write back what it has in memory. */
import type { Container } from './container.js';
import type { ContainerCache } from './container-cache.js';

/**
 * True if no disk that its VM writes to outlives the container.
 * @param disposes its anonymous volumes go with it
 */
export function keepsNothing({ id, spec }: Container, cache: ContainerCache, disposes: boolean): boolean {
  const isShared = (name: string): boolean =>
    cache.all().some((one) => one.id !== id && (one.spec.volumes ?? []).some(({ volume }) => volume === name));
  return (spec.volumes ?? []).every(
    ({ volume, readOnly, disposable, mount }) =>
      readOnly || mount?.type === 'tmpfs' || (disposes && disposable === true && !isShared(volume)),
  );
}
