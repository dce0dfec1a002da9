/** Routes that remove what is not used: containers, images, volumes, networks; and, of build caches, nothing yet. */
import type { Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { type PruneContainersParts, pruneContainers } from '../containers/prune.js';
import type { EventBus } from '../events/event-bus.js';
import { atLeast } from '../http/api-version.js';
import { filters, hangup, versionOf } from '../http/request.js';
import { streamedReport } from '../http/streamed-report.js';
import { type PruneImagesParts, pruneImages } from '../images/prune.js';
import type { DockerNetworks } from '../networks/docker-networks.js';
import { pruneNetworks } from '../networks/prune.js';
import { boolFilter, checkFilters } from '../values/filters.js';
import { parseBool } from '../values/parse-bool.js';
import { type PruneVolumesParts, pruneVolumes } from '../volumes/prune.js';
import { ANONYMOUS_LABEL } from '../volumes/volume-options.js';
import { PruneFilters, prefixed } from './prune-filters.js';
import { oneAtATime } from './prune-progress.js';

/** What the routes need. */
export interface PruneParts extends PruneContainersParts, PruneImagesParts, PruneVolumesParts {
  events: Pick<EventBus, 'publish'>;
  dockerNetworks: Pick<DockerNetworks, 'list' | 'remove'>;
}

/** Adds the routes. */
export function pruneRoutes(router: Router, parts: PruneParts): void {
  const pruned = (type: string, reclaimed = 0): void =>
    parts.events.publish(type, 'prune', '', { reclaimed: String(reclaimed) });

  const containersAlone = oneAtATime();
  router.post('/containers/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['label', 'label!', 'until']);
    const allowed = new PruneFilters(given);
    await containersAlone(() =>
      streamedReport(request, response, async (progress) => {
        const { deleted, reclaimed } = await pruneContainers(parts, allowed, progress);
        pruned('container', reclaimed);
        return { ContainersDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: reclaimed };
      }),
    );
  });

  const imagesAlone = oneAtATime();
  router.post('/images/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['dangling', 'label', 'label!', 'until']);
    const danglingOnly = boolFilter(given, 'dangling', true);
    const allowed = new PruneFilters(given);
    await imagesAlone(() =>
      streamedReport(request, response, async (progress) => {
        const { deleted, reclaimed } = await pruneImages(parts, allowed, danglingOnly, progress);
        pruned('image', reclaimed);
        return { ImagesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: reclaimed };
      }),
    );
  });

  const volumesAlone = oneAtATime();
  router.post('/volumes/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['all', 'label', 'label!']);
    // Before 1.42 volumes with a name were pruned too.
    const all = allOf(given.get('all') ?? []) || !atLeast(versionOf(request), '1.42');
    const allowed = new PruneFilters(given);
    await volumesAlone(async () => {
      const signal = hangup(response);
      await streamedReport(request, response, async (progress) => {
        const { deleted, reclaimed } = await pruneVolumes(
          parts,
          ({ labels }) =>
            (all || Object.hasOwn(labels ?? {}, ANONYMOUS_LABEL)) && allowed.allow(Number.NaN, labels ?? {}),
          signal,
          progress,
        );
        pruned('volume', reclaimed);
        return { VolumesDeleted: deleted, SpaceReclaimed: reclaimed };
      });
    });
  });

  const networksAlone = oneAtATime();
  router.post('/networks/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['label', 'label!', 'until']);
    const allowed = new PruneFilters(given);
    await networksAlone(() =>
      streamedReport(request, response, async (progress) => {
        const deleted = await pruneNetworks(parts.dockerNetworks, allowed, progress);
        pruned('network');
        return { NetworksDeleted: deleted.length === 0 ? null : deleted };
      }),
    );
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

/** @throws invalid in Docker's words */
function allOf(values: string[]): boolean {
  if (values.length > 1) throw invalid(`invalid filter 'all=[${values.join(' ')}]': only one value is expected`);
  return values.some((value) => {
    const all = parseBool(value);
    if (all === null) throw invalid(`invalid filter 'all': strconv.ParseBool: parsing "${value}": invalid syntax`);
    return all;
  });
}
