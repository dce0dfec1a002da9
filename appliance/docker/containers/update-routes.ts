/** The route that changes what a container may use, and its restart policy. */
import type { Router } from 'express';
import { body, versionOf } from '../http/request.js';
import { updateOf, updateSchema } from './config/resource-update.js';
import { type UpdateParts, updateContainer } from './update-container.js';

/** Adds the route. */
export function updateRoutes(router: Router, parts: UpdateParts): void {
  router.post('/containers/:id/update', async (request, response) => {
    const wanted = updateOf(await body(request, updateSchema), versionOf(request));
    const warnings = await updateContainer(parts, request.params.id, wanted);
    response.json({ Warnings: warnings });
  });
}
