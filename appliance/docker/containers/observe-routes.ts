/** Routes that look into running containers: top and stats. */
import type { Router } from 'express';
import type { ExecService, ObserveService } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { atLeast } from '../http/api-version.js';
import { flag, hangup, query, versionOf } from '../http/request.js';
import { drained } from '../streams/drained.js';
import { StatsWatch } from './stats-watch.js';
import { top } from './top/top.js';

/** What the routes need. */
export interface ObserveParts {
  exec: Pick<ExecService, 'resolve'>;
  observe: ObserveService;
  publish: PublishContainerEvent;
}

/** Adds the routes. */
export function observeRoutes(router: Router, parts: ObserveParts): void {
  const { exec } = parts;

  router.get('/containers/:id/top', async (request, response) => {
    const container = exec.resolve(request.params.id);
    response.json(await top(parts, container, query(request, 'ps_args') ?? '', hangup(response)));
  });

  router.get('/containers/:id/stats', async (request, response) => {
    const stream = query(request, 'stream') === undefined || flag(request, 'stream');
    const version = versionOf(request);
    // A single measurement can be asked for since 1.41.
    const oneShot = atLeast(version, '1.41') && flag(request, 'one-shot');
    if (stream && oneShot) throw invalid('cannot have stream=true and one-shot=true');
    const container = exec.resolve(request.params.id);
    const watch = new StatsWatch(parts, container.spec.id, version, hangup(response));
    try {
      if (!stream) {
        response.json(await watch.single(oneShot));
        return;
      }
      for await (const record of watch.records()) {
        if (!response.headersSent) response.writeHead(200);
        // A slow client gets fewer records; they do not pile up.
        if (!response.write(`${JSON.stringify(record)}\n`)) await drained(response);
      }
      response.end();
    } finally {
      watch.close();
    }
  });
}
