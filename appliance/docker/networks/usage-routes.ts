/** Caisson's own route about what the gateway carries: below `/caisson/`, with the authentication of the Docker API. */
import type { Router } from 'express';
import { unsupported } from '../../../src/common/errors.js';
import { networkUsage, type UsageParts } from './usage.js';

/** Adds the route. */
export function usageRoutes(router: Router, engine: { usageParts: UsageParts | null }): void {
  router.get('/caisson/network/usage', async (_request, response) => {
    if (engine.usageParts === null) throw unsupported('this endpoint carries nothing for its containers');
    response.json(await networkUsage(engine.usageParts));
  });
}
