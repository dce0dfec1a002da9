/** Routes of the engine itself: ping, version, info; and plugins, of which it has none. */
import type { RequestHandler, Router } from 'express';
import { notFound } from '../../../src/common/errors.js';
import { versionOf } from '../http/request.js';
import { type InfoSources, infoView } from './info.js';
import { versionView } from './version.js';

/** Adds the routes. */
export function systemRoutes(router: Router, sources: InfoSources): void {
  const ping: RequestHandler = (_request, response) => {
    response.set({
      'Builder-Version': '1',
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      Swarm: 'inactive',
    });
    // For HEAD, Express leaves the body out.
    response.type('text/plain').send('OK');
  };
  router.get('/_ping', ping);
  router.head('/_ping', ping);

  router.get('/version', async (_request, response) => {
    response.json(versionView(await sources.hostInfo()));
  });

  router.get('/info', async (request, response) => {
    response.json(await infoView(sources, versionOf(request)));
  });

  // `docker inspect` looks for a name among plugins too.
  router.get('/plugins', (_request, response) => {
    response.json([]);
  });

  router.get('/plugins/*name/json', (request) => {
    const name: unknown = request.params.name;
    throw notFound(`plugin "${Array.isArray(name) ? name.join('/') : String(name)}" not found`);
  });
}
