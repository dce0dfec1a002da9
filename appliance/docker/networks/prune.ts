/** Removes networks that no running container is on. */
import { isKind, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { PruneFilters } from '../prune/prune-filters.js';
import type { PruneProgress } from '../prune/prune-progress.js';
import type { DockerNetworks } from './docker-networks.js';

const log = logger('docker');

/** @returns the names of what was removed */
export async function pruneNetworks(
  networks: Pick<DockerNetworks, 'list' | 'remove'>,
  allowed: PruneFilters,
  progress: PruneProgress,
): Promise<string[]> {
  const deleted: string[] = [];
  for (const { id, name, kind, predefined, endpoints, createdAt, labels } of networks.list()) {
    if (progress.over()) break;
    // A configuration is never in use, and never removed.
    if (predefined || kind === 'config' || endpoints.length > 0 || !allowed.allow(createdAt.getTime(), labels))
      continue;
    try {
      await networks.remove(id);
      deleted.push(name);
      progress.deleted(name);
    } catch (error) {
      // A container is on it now, or it is gone already.
      if (!isKind(error, 'forbidden') && !isKind(error, 'notFound'))
        log.warn({ network: name, err: messageOf(error) }, 'a network could not be pruned');
    }
  }
  return deleted;
}
