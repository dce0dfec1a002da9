/** Removes all containers that do not run. */
import type { ExecService, FileService } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { PruneFilters } from '../prune/prune-filters.js';
import type { PruneProgress } from '../prune/prune-progress.js';
import type { ContainerLives } from './container-lives.js';
import { recordOf } from './container-record.js';
import type { Lifecycle } from './lifecycle.js';

const log = logger('docker');

/** What pruning containers depends on. */
export interface PruneContainersParts {
  exec: Pick<ExecService, 'list'>;
  files: Pick<FileService, 'size'>;
  lives: Pick<ContainerLives, 'isUp'>;
  lifecycle: Pick<Lifecycle, 'remove'>;
}

/** @returns ids of what was removed, and the bytes that it took */
export async function pruneContainers(
  { exec, files, lives, lifecycle }: PruneContainersParts,
  allowed: PruneFilters,
  progress: PruneProgress,
): Promise<{ deleted: string[]; reclaimed: number }> {
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const container of exec.list()) {
    if (progress.over()) break;
    const { id, createdAt } = container.spec;
    if (lives.isUp(container) || container.state === 'starting') continue;
    const { broken, config } = recordOf(container);
    // Without its labels nobody can say whether it should stay.
    if (broken !== null || !allowed.allow(Date.parse(createdAt), config.Labels)) continue;
    try {
      const size = await files.size(id).catch(() => 0);
      await lifecycle.remove(id, false);
      deleted.push(id);
      progress.deleted(id);
      reclaimed += size;
    } catch (error) {
      log.warn({ container: id, err: messageOf(error) }, 'a container could not be pruned');
    }
  }
  return { deleted, reclaimed };
}
