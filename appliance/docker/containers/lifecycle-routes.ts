/** Routes of a container's life: start, stop, restart, kill, pause, unpause, wait, remove, and the size of its terminal. */
import type { Request, Router } from 'express';
import type { ExecService, InteractionService, WaitCondition } from '../../../port-layer/index.js';
import {
  CaissonError,
  invalid,
  kindOf,
  notFound,
  notModified,
  unavailable,
  unsupported,
} from '../../../src/common/errors.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { atLeast } from '../http/api-version.js';
import { flag, hangup, integer, query, terminalSize, versionOf } from '../http/request.js';
import type { RestartSupervisor } from '../restart/restart-supervisor.js';
import { dockerMessage, dockerMessageOf } from '../words/docker-message.js';
import { parseSignal } from './config/signals.js';
import type { ContainerLives } from './container-lives.js';
import type { Lifecycle } from './lifecycle.js';
import { withoutLink } from './links.js';
import { waitForContainer } from './wait.js';

/** What the routes need. */
export interface LifecycleRouteParts {
  exec: Pick<ExecService, 'list' | 'resolve' | 'annotate' | 'pause' | 'unpause' | 'wait'>;
  interaction: Pick<InteractionService, 'resize'>;
  lifecycle: Lifecycle;
  lives: Pick<ContainerLives, 'isUp' | 'checkNotRestarting'>;
  restarts: Pick<RestartSupervisor, 'isRestarting' | 'notRestarted'>;
  publish: PublishContainerEvent;
}

/** Adds the routes. */
export function lifecycleRoutes(router: Router, parts: LifecycleRouteParts): void {
  const { exec, interaction, lifecycle, lives, restarts, publish } = parts;

  router.post('/containers/:id/start', async (request, response) => {
    if (query(request, 'checkpoint')) throw unsupported('checkpoints are not implemented');
    await lifecycle.start(request.params.id);
    response.status(204).end();
  });

  router.post('/containers/:id/stop', async (request, response) => {
    // Like Docker, rejects a malformed time even for a container that does not run,
    integer(request, 't');
    const container = exec.resolve(request.params.id);
    const { id } = container.spec;
    // but not a malformed signal.
    if (!lives.isUp(container)) throw notModified(`container ${id} is not running`);
    await lifecycle.stop(id, stopOptions(request));
    response.status(204).end();
  });

  router.post('/containers/:id/restart', async (request, response) => {
    const container = exec.resolve(request.params.id);
    await lifecycle.restart(container.spec.id, stopOptions(request));
    response.status(204).end();
  });

  router.post('/containers/:id/kill', async (request, response) => {
    const { id } = request.params;
    try {
      const container = exec.resolve(id);
      const signal = parseSignal(query(request, 'signal') || 'KILL');
      await lifecycle.kill(container.spec.id, signal);
    } catch (error) {
      throw new CaissonError(kindOf(error), `cannot kill container: ${id}: ${dockerMessage(error)}`, { cause: error });
    }
    response.status(204).end();
  });

  router.post('/containers/:id/pause', async (request, response) => {
    const container = exec.resolve(request.params.id);
    lives.checkNotRestarting(container);
    await exec.pause(container.spec.id);
    response.status(204).end();
  });

  router.post('/containers/:id/unpause', async (request, response) => {
    await exec.unpause(exec.resolve(request.params.id).spec.id);
    response.status(204).end();
  });

  router.post('/containers/:id/wait', async (request, response) => {
    // Conditions exist since 1.30.
    const condition = (atLeast(versionOf(request), '1.30') && query(request, 'condition')) || 'not-running';
    if (!['not-running', 'next-exit', 'removed'].includes(condition))
      throw invalid(`invalid condition: "${condition}"`);
    const waiting = waitForContainer(exec, restarts, request.params.id, condition as WaitCondition, hangup(response));
    waiting.catch(() => undefined);
    exec.resolve(request.params.id);
    // The head goes out at once: clients start the container only when they know that the wait has begun.
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    try {
      const { exitCode, error } = await waiting;
      // A client that waits for the next exit while it starts the container hears of a failed start from the start call.
      const failure =
        condition === 'not-running' && error !== null ? { Error: { Message: dockerMessageOf(error) } } : {};
      const answer = { ...failure, StatusCode: exitCode };
      response.end(`${JSON.stringify(answer)}\n`);
    } catch {
      response.destroy();
    }
  });

  router.delete('/containers/:id', async (request, response) => {
    if (flag(request, 'link')) {
      exec.resolve(request.params.id);
      throw unavailable('Conflict, cannot remove the default link name of the container');
    }
    await lifecycle.remove(request.params.id, flag(request, 'force'), flag(request, 'v'));
    response.status(204).end();
  });

  // `docker rm --link` removes the link and keeps the container that it leads to.
  router.delete('/containers/:id/:alias', async (request, response) => {
    const { id, alias } = request.params;
    const noSuch = notFound(`No such container: ${id}/${alias}`);
    const container = exec.list().find(({ spec }) => spec.name === id);
    const annotations = container === undefined ? null : withoutLink(container, alias);
    if (container === undefined || annotations === null) throw noSuch;
    if (!flag(request, 'link'))
      throw invalid(`${id}/${alias} is a link: remove it with --link, or the container by its own name`);
    await exec.annotate(container.spec.id, annotations);
    response.status(204).end();
  });

  router.post('/containers/:id/resize', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const { rows, cols } = terminalSize(request);
    await interaction.resize(container.spec.id, { rows, cols });
    publish(container, 'resize', { height: String(rows), width: String(cols) });
    response.status(200).end();
  });
}

/** How a container is to be stopped. Before 1.42 a request could not name a signal. @throws invalid */
function stopOptions(request: Request): { signal?: number; timeoutSeconds?: number } {
  const seconds = integer(request, 't');
  const signal = atLeast(versionOf(request), '1.42') ? query(request, 'signal') : undefined;
  return {
    ...(signal === undefined || signal === '' ? {} : { signal: parseSignal(signal) }),
    ...(seconds === undefined ? {} : { timeoutSeconds: seconds }),
  };
}
