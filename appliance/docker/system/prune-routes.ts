/** Routes that remove what is not used: containers, images; and, of kinds of which there is nothing yet to remove, nothing. */
import type { Router } from 'express';
import { conflict, invalid, isKind, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import type { Image, ImageDeletion } from '../../image/index.js';
import { recordOf } from '../containers/container-record.js';
import type { Engine } from '../engine.js';
import { checkFilters, filters } from '../http/request.js';
import { PruneFilters, prefixed } from './prune-filters.js';
import { type PruneProgress, streamedReport } from './prune-report.js';

const log = logger('docker');

/** Adds the routes. */
export function pruneRoutes(router: Router, engine: Engine): void {
  const pruned = (type: string, reclaimed = 0): void =>
    engine.events.publish(type, 'prune', '', { reclaimed: String(reclaimed) });

  const containersAlone = oneAtATime();
  router.post('/containers/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['label', 'label!', 'until']);
    const allowed = new PruneFilters(given);
    await containersAlone(() =>
      streamedReport(request, response, async (progress) => {
        const { deleted, reclaimed } = await pruneContainers(engine, allowed, progress);
        pruned('container', reclaimed);
        return { ContainersDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: reclaimed };
      }),
    );
  });

  const imagesAlone = oneAtATime();
  router.post('/images/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['dangling', 'label', 'label!', 'until']);
    const dangling = given.get('dangling') ?? [];
    if (dangling.length > 1 || !['0', '1', 'true', 'false'].includes(dangling[0] ?? 'true'))
      throw invalid(`invalid filter 'dangling=[${[...dangling].sort().join(' ')}]'`);
    const allowed = new PruneFilters(given);
    const danglingOnly = ['1', 'true'].includes(dangling[0] ?? 'true');
    await imagesAlone(() =>
      streamedReport(request, response, async (progress) => {
        const { deleted, reclaimed } = await pruneImages(engine, allowed, danglingOnly, progress);
        pruned('image', reclaimed);
        return { ImagesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: reclaimed };
      }),
    );
  });

  // The networks there are came with the virtual container host; none can be made yet.
  router.post('/networks/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['label', 'label!', 'until']);
    new PruneFilters(given);
    await streamedReport(request, response, async () => {
      pruned('network');
      return { NetworksDeleted: null };
    });
  });

  // Nothing is built here.
  router.post('/build/prune', async (request, response) => {
    const given = filters(request);
    const known = ['description', 'id', 'inuse', 'parent', 'private', 'shared', 'type', 'unused-for', 'until'];
    prefixed('failed to prune build cache: ', () => {
      checkFilters(given, [...known, 'label', 'label!']);
      prefixed('"until" filter expects a duration (e.g., \'24h\') or a timestamp: ', () => new PruneFilters(given));
    });
    await streamedReport(request, response, async () => {
      pruned('builder');
      return { CachesDeleted: null, SpaceReclaimed: 0 };
    });
  });
}

/** @throws conflict in Docker's words while another one is going on */
function oneAtATime(): (body: () => Promise<void>) => Promise<void> {
  let busy = false;
  return async (body) => {
    if (busy) throw conflict('a prune operation is already running');
    busy = true;
    try {
      await body();
    } finally {
      busy = false;
    }
  };
}

async function pruneContainers(
  engine: Engine,
  allowed: PruneFilters,
  progress: PruneProgress,
): Promise<{ deleted: string[]; reclaimed: number }> {
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const container of engine.portLayer.exec.list()) {
    if (progress.over()) break;
    const { id, createdAt } = container.spec;
    if (engine.lives.isUp(container) || container.state === 'starting') continue;
    const { broken, config } = recordOf(container);
    // Without its labels nobody can say whether it is to stay.
    if (broken !== null || !allowed.allow(Date.parse(createdAt), config.Labels)) continue;
    try {
      const size = await engine.portLayer.files.size(id).catch(() => 0);
      await engine.lifecycle.remove(id, false);
      deleted.push(id);
      progress.deleted(id);
      reclaimed += size;
    } catch (error) {
      log.warn({ container: id, err: messageOf(error) }, 'a container could not be pruned');
    }
  }
  return { deleted, reclaimed };
}

async function pruneImages(
  engine: Engine,
  allowed: PruneFilters,
  danglingOnly: boolean,
  progress: PruneProgress,
): Promise<{ deleted: ImageDeletion[]; reclaimed: number }> {
  const { images } = engine;
  const sizes = new Map(
    images
      .list()
      .flatMap(({ chainIds, layerSizes }) => chainIds.map((chain, i) => [chain, layerSizes[i] ?? 0] as const)),
  );
  const deleted: ImageDeletion[] = [];
  for (const image of images.list()) {
    if (progress.over()) break;
    if (!allowed.allow(Date.parse(image.config.created ?? ''), image.config.config.Labels ?? {})) continue;
    for (const reference of namesToRemove(image, danglingOnly)) {
      try {
        const options = { force: false, noPrune: false, usedBy: (id: string) => engine.containerImages.usersOf(id) };
        const removed = await images.remove(reference, options);
        deleted.push(...removed);
        for (const one of removed) if ('Deleted' in one) progress.deleted(one.Deleted);
      } catch (error) {
        // Used by a container, or gone with another name of it.
        if (!isKind(error, 'conflict') && !isKind(error, 'notFound')) throw error;
      }
    }
  }
  const reclaimed = deleted.reduce((sum, one) => sum + ('Deleted' in one ? (sizes.get(one.Deleted) ?? 0) : 0), 0);
  return { deleted, reclaimed };
}

/** By what an image is to be removed; nothing: it stays. Only tags keep an image from dangling. */
function namesToRemove(image: Image, danglingOnly: boolean): string[] {
  if (danglingOnly && image.repoTags.length > 0) return [];
  const names = [...image.repoTags, ...image.repoDigests];
  return names.length > 0 ? names : [image.id];
}
