/** Routes that suspend a container in memory and let it go on. */
import type { Router } from 'express';
import type { Engine } from '../engine.js';

/** Adds the routes. */
export function pauseRoutes(router: Router, engine: Engine): void {
  const { exec } = engine.portLayer;

  router.post('/containers/:id/pause', async (request, response) => {
    const container = exec.resolve(request.params.id);
    engine.lives.checkNotRestarting(container);
    await exec.pause(container.spec.id);
    response.status(204).end();
  });

  router.post('/containers/:id/unpause', async (request, response) => {
    await exec.unpause(exec.resolve(request.params.id).spec.id);
    response.status(204).end();
  });
}
