/** Routes that show containers: `inspect` and `ps`. */
import type { Router } from 'express';
import { atLeast } from '../http/api-version.js';
import { filters, flag, hangup, integer, versionOf } from '../http/request.js';
import { type FilterSources, filterContainers } from './container-filters.js';
import { containerSize, type SizeSources, withSizes } from './container-size.js';
import { inspectView } from './inspect-view.js';
import { listView } from './list-view.js';

/** What the routes show containers from. */
export interface InspectSources extends FilterSources, SizeSources {}

/** Adds the routes. */
export function inspectRoutes(router: Router, sources: InspectSources): void {
  const { exec, views } = sources;

  router.get('/containers/json', async (request, response) => {
    const limit = integer(request, 'limit') ?? 0;
    const version = versionOf(request);
    const rows = filterContainers(sources, exec.list(), filters(request), {
      annotations: atLeast(version, '1.56'),
      all: flag(request, 'all') || limit > 0,
      limit,
    });
    const view = listView(views, version);
    response.json(flag(request, 'size') ? await withSizes(sources, rows, hangup(response), view) : rows.map(view));
  });

  router.get('/containers/:id/json', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const sizes = flag(request, 'size') ? await containerSize(sources, container, hangup(response)) : {};
    response.json({ ...inspectView(views, container, versionOf(request)), ...sizes });
  });
}
