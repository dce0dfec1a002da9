/** Which of a container's disks are there after it: a VM that writes to one must go down in order, and write back what it has in memory. */
import type { Container } from './container.js';
import type { ContainerCache } from './container-cache.js';

/**
 * True when no disk that its VM writes to outlives the container.
 * @param disposes its volumes that nobody has named go with it
 */
export function keepsNothing({ id, spec }: Container, cache: ContainerCache, disposes: boolean): boolean {
  const isShared = (name: string): boolean =>
    cache.all().some((one) => one.id !== id && (one.spec.volumes ?? []).some(({ volume }) => volume === name));
  return (spec.volumes ?? []).every(
    ({ volume, readOnly, disposable }) => readOnly || (disposes && disposable === true && !isShared(volume)),
  );
}
