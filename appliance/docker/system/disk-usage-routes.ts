/** The route of `docker system df`. */
import type { Request, Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { atLeast } from '../http/api-version.js';
import { flag, hangup, versionOf } from '../http/request.js';
import { diskUsage, USAGE_TYPES, type UsageSources } from './disk-usage.js';

/** Adds the route. */
export function diskUsageRoutes(router: Router, sources: UsageSources): void {
  router.get('/system/df', async (request, response) => {
    const version = versionOf(request);
    // `verbose` exists since 1.52.
    const verbose = atLeast(version, '1.52') && flag(request, 'verbose');
    response.json(await diskUsage(sources, wantedTypes(request), { version, verbose }, hangup(response)));
  });
}

/** @throws invalid in Docker's words */
function wantedTypes(request: Request): Set<string> {
  const given: unknown = request.query.type;
  if (given === undefined || !atLeast(versionOf(request), '1.42')) return new Set(USAGE_TYPES);
  const types = (Array.isArray(given) ? given : [given]).map(String);
  for (const type of types) if (!USAGE_TYPES.includes(type)) throw invalid(`unknown object type: ${type}`);
  return new Set(types);
}
