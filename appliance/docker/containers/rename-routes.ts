/** The route that gives a container another name. */
import type { Router } from 'express';
import type { Engine } from '../engine.js';
import { query } from '../http/request.js';
import { renameContainer } from './rename-container.js';

/** Adds the route. */
export function renameRoutes(router: Router, { portLayer: { exec }, publish }: Engine): void {
  router.post('/containers/:id/rename', async (request, response) => {
    await renameContainer({ exec, publish }, request.params.id, query(request, 'name') ?? '');
    response.status(204).end();
  });
}
