/** Routes that show containers: `inspect` and `ps`. */
import type { Router } from 'express';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { filters, flag, hangup, integer, versionOf } from '../http/request.js';
import { filterContainers } from './container-filters.js';
import { containerSize, withSizes } from './container-size.js';
import { inspectView } from './inspect-view.js';
import { listView } from './list-view.js';

/** Adds the routes. */
export function inspectRoutes(router: Router, engine: Engine): void {
  const { exec } = engine.portLayer;

  router.get('/containers/json', async (request, response) => {
    const limit = integer(request, 'limit') ?? 0;
    const version = versionOf(request);
    const rows = filterContainers(engine, exec.list(), filters(request), {
      annotations: atLeast(version, '1.56'),
      all: flag(request, 'all') || limit > 0,
      limit,
    });
    const view = listView(engine.views, version);
    response.json(flag(request, 'size') ? await withSizes(engine, rows, hangup(response), view) : rows.map(view));
  });

  router.get('/containers/:id/json', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const sizes = flag(request, 'size') ? await containerSize(engine, container, hangup(response)) : {};
    response.json({ ...inspectView(engine.views, container, versionOf(request)), ...sizes });
  });
}
