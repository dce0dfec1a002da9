/** Removes images that no container uses. */
import { isKind } from '../../../src/common/errors.js';
import type { Image, ImageDeletion, ImageService } from '../../image/index.js';
import type { PruneFilters } from '../prune/prune-filters.js';
import type { PruneProgress } from '../prune/prune-progress.js';
import type { ContainerImages } from './container-images.js';
import { parentIds } from './image-view.js';

/** What pruning images depends on. */
export interface PruneImagesParts {
  images: Pick<ImageService, 'list' | 'remove'>;
  containerImages: Pick<ContainerImages, 'usersOf'>;
}

/** @param danglingOnly only images without a tag @returns what was removed, and the bytes that it took */
export async function pruneImages(
  { images, containerImages }: PruneImagesParts,
  allowed: PruneFilters,
  danglingOnly: boolean,
  progress: PruneProgress,
): Promise<{ deleted: ImageDeletion[]; reclaimed: number }> {
  const all = images.list();
  const parents = parentIds(all);
  const sizes = new Map(
    all.flatMap(({ chainIds, layerSizes, blobSizes = [] }) =>
      chainIds.map((chain, i) => [chain, (layerSizes[i] ?? 0) + (blobSizes[i] ?? 0)] as const),
    ),
  );
  const deleted: ImageDeletion[] = [];
  for (const image of all) {
    if (progress.over()) break;
    // It goes together with the last image that was committed from it.
    if (parents.has(image.id) && (danglingOnly || image.repoTags.length + image.repoDigests.length === 0)) continue;
    if (!allowed.allow(Date.parse(image.config.created ?? ''), image.config.config.Labels ?? {})) continue;
    for (const reference of namesToRemove(image, danglingOnly)) {
      try {
        const options = { force: false, noPrune: false, usedBy: (id: string) => containerImages.usersOf(id) };
        const removed = await images.remove(reference, options);
        deleted.push(...removed);
        for (const one of removed) if ('Deleted' in one) progress.deleted(one.Deleted);
      } catch (error) {
        // A container uses it, or it went with another of its names.
        if (!isKind(error, 'conflict') && !isKind(error, 'notFound')) throw error;
      }
    }
  }
  const reclaimed = deleted.reduce((sum, one) => sum + ('Deleted' in one ? (sizes.get(one.Deleted) ?? 0) : 0), 0);
  return { deleted, reclaimed };
}

/** The references by which an image is removed; none: it stays. An image with a digest but no tag is dangling. */
function namesToRemove(image: Image, danglingOnly: boolean): string[] {
  if (danglingOnly && image.repoTags.length > 0) return [];
  const names = [...image.repoTags, ...image.repoDigests];
  return names.length > 0 ? names : [image.id];
}
