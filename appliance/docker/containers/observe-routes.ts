/** Routes that look into running containers: top and stats. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Response, Router } from 'express';
import type { ContainerInfo, Meter, ResourceUsage } from '../../../port-layer/index.js';
import { conflict, invalid, isKind } from '../../../src/common/errors.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { flag, hangup, query, versionOf } from '../http/request.js';
import { isUp } from './container-state.js';
import { statsView } from './stats.js';
import { checkPsOptions, topView } from './top/top.js';

const INTERVAL_MS = 1000;
/** Between the two measurements of one answer: the share of processor time is of that. */
const SPAN_MS = 900;

/** Adds the routes. */
export function observeRoutes(router: Router, engine: Engine): void {
  const { exec, observe } = engine.portLayer;

  router.get('/containers/:id/top', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const options = query(request, 'ps_args') ?? '';
    if (!isUp(container)) throw conflict(`container ${container.spec.id} is not running`);
    checkPsOptions(options);
    const list = await observe.processes(container.spec.id, hangup(response));
    const top = topView(list, options);
    engine.publish(container, 'top');
    response.json(top);
  });

  router.get('/containers/:id/stats', async (request, response) => {
    const stream = query(request, 'stream') === undefined || flag(request, 'stream');
    const version = versionOf(request);
    // It came with 1.41.
    const oneShot = atLeast(version, '1.41') && flag(request, 'one-shot');
    if (stream && oneShot) throw invalid('cannot have stream=true and one-shot=true');
    const container = exec.resolve(request.params.id);
    const gone = hangup(response);
    const watch = new Watch(engine, container.spec.id, gone, version);
    try {
      if (stream) {
        await watch.stream(response, gone);
        return;
      }
      const before = oneShot ? null : await watch.read();
      if (before !== null) await sleep(SPAN_MS, undefined, { signal: gone }).catch(() => undefined);
      const now = oneShot || before !== null ? await watch.read() : null;
      response.json(statsView(namedAs(exec.resolve(container.spec.id)), now, before, version));
    } finally {
      watch.close();
    }
  });
}

function namedAs({ spec }: ContainerInfo): { id: string; name: string } {
  return { id: spec.id, name: spec.name };
}

/** Measures one container for one client, through stops and starts. */
class Watch {
  private meter: Meter | null = null;
  /** The run that the meter belongs to. */
  private run = 0;

  constructor(
    private readonly engine: Engine,
    private readonly id: string,
    private readonly signal: AbortSignal,
    private readonly version: string,
  ) {}

  /** What it uses; null while it does not run. */
  async read(): Promise<ResourceUsage | null> {
    const { exec, observe } = this.engine.portLayer;
    const container = exec.resolve(this.id);
    const run = container.startedAt?.getTime() ?? 0;
    if (!isUp(container) || run !== this.run) this.close();
    if (!isUp(container)) return null;
    try {
      this.meter ??= await observe.meter(this.id, this.signal);
      this.run = run;
      return await this.meter.read();
    } catch (error) {
      this.close();
      // It has just ended.
      if (isKind(error, 'conflict')) return null;
      throw error;
    }
  }

  /** One record a second until the client goes away, or the container is removed. */
  async stream(response: Response, gone: AbortSignal): Promise<void> {
    const { exec } = this.engine.portLayer;
    let before: ResourceUsage | null = null;
    while (!gone.aborted) {
      const began = Date.now();
      try {
        const now = await this.read();
        const record = statsView(namedAs(exec.resolve(this.id)), now, now === null ? null : before, this.version);
        before = now;
        if (!response.headersSent) response.writeHead(200);
        // Who does not read holds up nobody but himself.
        if (!response.write(`${JSON.stringify(record)}\n`)) await once(response, 'drain', { signal: gone });
      } catch (error) {
        if (gone.aborted) return;
        if (!response.headersSent) throw error;
        if (isKind(error, 'notFound')) break;
      }
      await sleep(Math.max(0, began + INTERVAL_MS - Date.now()), undefined, { signal: gone }).catch(() => undefined);
    }
    response.end();
  }

  close(): void {
    this.meter?.close();
    this.meter = null;
  }
}
