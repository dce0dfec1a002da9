/** The route that gives a container another name. */
import type { Router } from 'express';
import { CaissonError, invalid, kindOf } from '../../../src/common/errors.js';
import type { Engine } from '../engine.js';
import { query } from '../http/request.js';
import { dockerMessage } from '../words/docker-message.js';
import { checkContainerName } from './config/container-spec.js';

/** Adds the route. */
export function renameRoutes(router: Router, engine: Engine): void {
  const { exec } = engine.portLayer;

  router.post('/containers/:id/rename', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const given = query(request, 'name') ?? '';
    if (given === '') throw invalid('Neither old nor new names may be empty');
    if (given.replace(/^\//, '') === container.spec.name)
      throw invalid('Renaming a container with the same name as its current name');
    const oldName = `/${container.spec.name}`;
    try {
      await exec.rename(container.spec.id, checkContainerName(`/${given.replace(/^\//, '')}`));
    } catch (error) {
      throw new CaissonError(kindOf(error), `Error when allocating new name: ${dockerMessage(error)}`, {
        cause: error,
      });
    }
    engine.publish(exec.resolve(container.spec.id), 'rename', { oldName });
    response.status(204).end();
  });
}
