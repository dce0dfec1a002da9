/** The route that changes what a container may use, and its restart policy. */
import type { Router } from 'express';
import type { Engine } from '../engine.js';
import { body, versionOf } from '../http/request.js';
import { updateOf, updateSchema } from './config/resource-update.js';
import { updateContainer } from './update-container.js';

/** Adds the route. */
export function updateRoutes(router: Router, { portLayer, restarts, config, publish }: Engine): void {
  const { exec, observe } = portLayer;
  const parts = { exec, observe, restarts, config, publish, hostInfo: () => portLayer.hostInfo() };

  router.post('/containers/:id/update', async (request, response) => {
    const wanted = updateOf(await body(request, updateSchema), versionOf(request));
    const warnings = await updateContainer(parts, request.params.id, wanted);
    response.json({ Warnings: warnings });
  });
}
