/** Routes of containers: create, look, start, stop, remove. */
import type { Router } from 'express';
import type { WaitCondition } from '../../../port-layer/types.js';
import { conflict, invalid, isKind } from '../../../src/common/errors.js';
import { wantedPorts } from '../../gateway/published-ports.js';
import { createSchema } from '../container-config.js';
import { filterContainers } from '../container-filters.js';
import { checkContainerName, containerSpec } from '../container-spec.js';
import { inspectView, listView } from '../container-view.js';
import type { Engine } from '../engine.js';
import { randomName } from '../names.js';
import { body, filters, flag, hangup, integer, query } from '../request.js';
import { parseSignal } from '../signals.js';

/** Adds the routes. */
export function containerRoutes(router: Router, engine: Engine): void {
  const { exec, interaction } = engine.portLayer;

  router.post('/containers/create', async (request, response) => {
    const wanted = await body(request, createSchema);
    const platform = query(request, 'platform') ?? '';
    if (platform !== '' && !/^linux\/(amd64|x86_64)$/.test(platform))
      throw invalid(
        `image with reference ${wanted.Image ?? ''} was found but does not provide the specified platform (${platform})`,
      );
    const given = query(request, 'name') ?? '';
    const name =
      given === ''
        ? randomName((one) => exec.list().some((container) => container.spec.name === one))
        : checkContainerName(given);
    if ((wanted.Image ?? '') === '') throw invalid('no image specified');
    const image = engine.images.resolve(wanted.Image!);
    const spec = containerSpec(wanted, image, name, engine.config.container);
    wantedPorts(
      wanted.HostConfig?.PortBindings ?? {},
      Object.keys(wanted.ExposedPorts ?? {}),
      wanted.HostConfig?.PublishAllPorts === true,
    );
    const created = await exec.create(spec);
    response.status(201).json({ Id: created.spec.id, Warnings: [] });
  });

  router.get('/containers/json', (request, response) => {
    const limit = integer(request, 'limit') ?? 0;
    if (flag(request, 'size')) throw invalid('size is not implemented for the list of containers');
    const rows = filterContainers(engine, exec.list(), filters(request), {
      all: flag(request, 'all') || limit > 0,
      limit,
    });
    response.json(
      rows.map((container) =>
        listView(container, engine.ports.portsOf(container.spec.id), engine.imageName(container)),
      ),
    );
  });

  router.get('/containers/:id/json', (request, response) => {
    const container = exec.resolve(request.params.id);
    response.json(
      inspectView(container, engine.ports.portsOf(container.spec.id), interaction.execIds(container.spec.id)),
    );
  });

  router.post('/containers/:id/start', async (request, response) => {
    await engine.start(request.params.id);
    response.status(204).end();
  });

  router.post('/containers/:id/stop', async (request, response) => {
    const container = exec.resolve(request.params.id);
    await exec.stop(container.spec.id, stopOptions(query(request, 'signal'), integer(request, 't')));
    engine.publish(container, 'stop');
    response.status(204).end();
  });

  router.post('/containers/:id/restart', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const options = stopOptions(query(request, 'signal'), integer(request, 't'));
    if (container.state === 'running') {
      await exec.stop(container.spec.id, options).catch((error: unknown) => {
        if (!isKind(error, 'notModified')) throw error;
      });
      engine.publish(container, 'stop');
    }
    await engine.start(container.spec.id);
    engine.publish(exec.resolve(container.spec.id), 'restart');
    response.status(204).end();
  });

  router.post('/containers/:id/kill', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const signal = parseSignal(query(request, 'signal') || 'KILL');
    if (container.state !== 'running' && container.state !== 'stopping')
      throw conflict(`cannot kill container: ${request.params.id}: container ${container.spec.id} is not running`);
    engine.publish(container, 'kill', { signal: String(signal) });
    await exec.kill(container.spec.id, signal);
    response.status(204).end();
  });

  router.post('/containers/:id/wait', async (request, response) => {
    const condition = query(request, 'condition') || 'not-running';
    if (!['not-running', 'next-exit', 'removed'].includes(condition))
      throw invalid(`invalid condition: "${condition}"`);
    const waiting = exec.wait(request.params.id, condition as WaitCondition, hangup(response));
    waiting.catch(() => undefined);
    exec.resolve(request.params.id);
    // The head goes out at once: clients start the container only when they know that the wait is on.
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    try {
      const { exitCode } = await waiting;
      response.end(`${JSON.stringify({ StatusCode: exitCode })}\n`);
    } catch {
      response.destroy();
    }
  });

  router.delete('/containers/:id', async (request, response) => {
    if (flag(request, 'link')) throw invalid('removing links is not implemented');
    await exec.remove(request.params.id, { force: flag(request, 'force') });
    response.status(204).end();
  });

  router.post('/containers/:id/rename', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const given = query(request, 'name') ?? '';
    if (given === '') throw invalid('Neither old nor new names may be empty');
    const name = checkContainerName(given);
    if (name === container.spec.name) throw invalid('Renaming a container with the same name as its current name');
    const oldName = `/${container.spec.name}`;
    await exec.rename(container.spec.id, name);
    engine.publish(exec.resolve(container.spec.id), 'rename', { oldName });
    response.status(204).end();
  });

  router.post('/containers/:id/resize', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const [rows, cols] = [integer(request, 'h') ?? 0, integer(request, 'w') ?? 0];
    await interaction.resize(container.spec.id, { rows, cols });
    engine.publish(container, 'resize', { height: String(rows), width: String(cols) });
    response.status(200).end();
  });
}

function stopOptions(
  signal: string | undefined,
  seconds: number | undefined,
): { signal?: number; timeoutSeconds?: number } {
  return {
    ...(signal === undefined || signal === '' ? {} : { signal: parseSignal(signal) }),
    ...(seconds === undefined ? {} : { timeoutSeconds: seconds }),
  };
}
