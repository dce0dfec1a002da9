/** Routes of volumes. */
import type { Router } from 'express';
import { z } from 'zod';
import type { VolumeInfo } from '../../../port-layer/index.js';
import { isKind } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { body, filters, flag } from '../http/request.js';
import { prefixed } from '../prune/prune-filters.js';
import { NO_SWARM } from '../system/refused-routes.js';
import { filterVolumes } from './volume-filters.js';
import type { VolumeService } from './volume-service.js';
import { volumeView } from './volume-view.js';

const words = z.record(z.string(), z.string()).nullish();

const createSchema = goType(
  'volume.CreateOptions',
  z.object({
    Name: z.string().nullish(),
    Driver: z.string().nullish(),
    DriverOpts: words,
    Labels: words,
    ClusterVolumeSpec: goType('volume.ClusterVolumeSpec', z.object({})).nullish(),
  }),
);

/** Adds the routes. */
export function volumeRoutes(router: Router, volumes: VolumeService): void {
  const view = (volume: VolumeInfo): object => volumeView(volume, volumes.sourceOf(volume.name));

  router.post('/volumes/create', async (request, response) => {
    const wanted = await body(request, createSchema);
    if (wanted.ClusterVolumeSpec) {
      response.status(503).json({ message: NO_SWARM });
      return;
    }
    const { Name: name, Driver: driver, DriverOpts: options, Labels: labels } = wanted;
    const { volume } = await volumes.create(name ?? '', driver ?? '', options ?? null, labels ?? null);
    response.status(201).json(view(volume));
  });

  router.get('/volumes', (request, response) => {
    const given = prefixed('error reading volume filters: ', () => filters(request));
    response.json({ Volumes: filterVolumes(volumes, given).map(view), Warnings: null });
  });

  router.get('/volumes/:name', (request, response) => {
    response.json(view(volumes.get(request.params.name)));
  });

  router.delete('/volumes/:name', async (request, response) => {
    try {
      await volumes.remove(request.params.name);
    } catch (error) {
      if (!(flag(request, 'force') && isKind(error, 'notFound'))) throw error;
    }
    response.status(204).end();
  });

  router.put('/volumes/:name', (_request, response) => {
    response.status(503).json({ message: 'volume update only valid for cluster volumes, but swarm is unavailable' });
  });
}
