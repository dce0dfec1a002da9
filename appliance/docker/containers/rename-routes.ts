/** The route that gives a container another name. */
import type { Router } from 'express';
import { query } from '../http/request.js';
import { type RenameParts, renameContainer } from './rename-container.js';

/** Adds the route. */
export function renameRoutes(router: Router, parts: RenameParts): void {
  router.post('/containers/:id/rename', async (request, response) => {
    await renameContainer(parts, request.params.id, query(request, 'name') ?? '');
    response.status(204).end();
  });
}
