/** Removes volumes that no container uses. */
import type { VolumeInfo, VolumeStore } from '../../../port-layer/index.js';
import { isKind, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { PruneProgress } from '../prune/prune-progress.js';
import type { VolumeService } from './volume-service.js';

const log = logger('docker');

/** What pruning volumes depends on. */
export interface PruneVolumesParts {
  volumes: Pick<VolumeService, 'list' | 'usersOf' | 'remove'>;
  volumeStore: Pick<VolumeStore, 'usage'>;
}

/** @returns names of what was removed, and the bytes that it took */
export async function pruneVolumes(
  { volumes, volumeStore }: PruneVolumesParts,
  allowed: (volume: VolumeInfo) => boolean,
  signal: AbortSignal,
  progress: PruneProgress,
): Promise<{ deleted: string[]; reclaimed: number }> {
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const volume of volumes.list()) {
    const { name } = volume;
    if (signal.aborted || progress.over()) break;
    if (!allowed(volume) || volumes.usersOf(name).length > 0) continue;
    try {
      const size = await volumeStore.usage(name, signal).catch(() => 0);
      await volumes.remove(name);
      deleted.push(name);
      progress.deleted(name);
      reclaimed += size;
    } catch (error) {
      // A container has it now, or it is gone already.
      if (!isKind(error, 'conflict') && !isKind(error, 'notFound'))
        log.warn({ volume: name, err: messageOf(error) }, 'a volume could not be pruned');
    }
  }
  return { deleted, reclaimed };
}
