/** The route that makes a container. */
import type { Router } from 'express';
import { atLeast } from '../http/api-version.js';
import { body, query, versionOf } from '../http/request.js';
import { createSchema } from './config/create-body.js';
import { ContainerCreation, type CreateParts } from './create-container.js';

/** Adds the route. */
export function createRoutes(router: Router, parts: CreateParts): void {
  const creation = new ContainerCreation(parts);

  router.post('/containers/create', async (request, response) => {
    const wanted = await body(request, createSchema, { required: true, root: '' });
    const apiVersion = versionOf(request);
    const { id, warnings } = await creation.create({
      body: wanted,
      name: query(request, 'name') ?? '',
      // Older clients cannot name a platform.
      platform: atLeast(apiVersion, '1.41') ? (query(request, 'platform') ?? '') : '',
      apiVersion,
    });
    response.status(201).json({ Id: id, Warnings: warnings });
  });
}
