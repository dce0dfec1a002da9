/** Routes of volumes. */
import type { Router } from 'express';
import { z } from 'zod';
import type { VolumeInfo } from '../../../port-layer/index.js';
import { conflict, invalid, isKind, messageOf } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { logger } from '../../../src/common/log.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { body, checkFilters, filters, flag, hangup, versionOf } from '../http/request.js';
import { PruneFilters } from '../system/prune-filters.js';
import { type PruneProgress, streamedReport } from '../system/prune-report.js';
import { NO_SWARM } from '../system/refused-routes.js';
import { withinTime } from '../values/bounded-time.js';
import { parseBool } from '../values/parse-bool.js';
import { ANONYMOUS_LABEL } from './volume-options.js';

const log = logger('docker');
/** For all names together. */
const NAME_MS = 200;
const words = z.record(z.string(), z.string()).nullish();

const createSchema = goType(
  'volume.CreateOptions',
  z.object({
    Name: z.string().nullish(),
    Driver: z.string().nullish(),
    DriverOpts: words,
    Labels: words,
    ClusterVolumeSpec: goType('volume.ClusterVolumeSpec', z.object({})).nullish(),
  }),
);

/** Adds the routes. */
export function volumeRoutes(router: Router, engine: Engine): void {
  const { volumes } = engine;

  router.post('/volumes/create', async (request, response) => {
    const wanted = await body(request, createSchema);
    if (wanted.ClusterVolumeSpec) {
      response.status(503).json({ message: NO_SWARM });
      return;
    }
    const { volume } = await volumes.create(
      wanted.Name ?? '',
      wanted.Driver ?? '',
      orNull(wanted.DriverOpts),
      orNull(wanted.Labels),
    );
    response.status(201).json(volumeView(engine, volume));
  });

  router.get('/volumes', (request, response) => {
    const wanted = volumeFilter(engine, filters(request));
    const found = volumes.list().filter(wanted);
    response.json({ Volumes: found.map((volume) => volumeView(engine, volume)), Warnings: null });
  });

  router.get('/volumes/:name', (request, response) => {
    response.json(volumeView(engine, volumes.get(request.params.name)));
  });

  router.delete('/volumes/:name', async (request, response) => {
    try {
      await volumes.remove(request.params.name);
    } catch (error) {
      if (!(flag(request, 'force') && isKind(error, 'notFound'))) throw error;
    }
    response.status(204).end();
  });

  router.put('/volumes/:name', (_request, response) => {
    response.status(503).json({ message: 'volume update only valid for cluster volumes, but swarm is unavailable' });
  });

  let pruning = false;
  router.post('/volumes/prune', async (request, response) => {
    const given = filters(request);
    checkFilters(given, ['all', 'label', 'label!']);
    const all = allOf(given.get('all') ?? []) || !atLeast(versionOf(request), '1.42');
    const allowed = new PruneFilters(given);
    if (pruning) throw conflict('a prune operation is already running');
    pruning = true;
    try {
      const signal = hangup(response);
      await streamedReport(request, response, async (progress) => {
        const { deleted, reclaimed } = await prune(
          engine,
          ({ labels }) =>
            (all || Object.hasOwn(labels ?? {}, ANONYMOUS_LABEL)) && allowed.allow(Number.NaN, labels ?? {}),
          signal,
          progress,
        );
        engine.events.publish('volume', 'prune', '', { reclaimed: String(reclaimed) });
        return { VolumesDeleted: deleted, SpaceReclaimed: reclaimed };
      });
    } finally {
      pruning = false;
    }
  });
}

const orNull = (given: Record<string, string> | null | undefined): Record<string, string> | null => given ?? null;

/** @throws invalid in Docker's words */
function allOf(values: string[]): boolean {
  return values.some((value) => {
    const all = parseBool(value);
    if (all === null) throw invalid(`invalid filter 'all': strconv.ParseBool: parsing "${value}": invalid syntax`);
    return all;
  });
}

/** A volume as the API shows it. */
export function volumeView(engine: Engine, volume: VolumeInfo): object {
  return {
    CreatedAt: volume.createdAt.replace(/\.\d+Z$/, 'Z'),
    Driver: volume.driver,
    Labels: volume.labels,
    Mountpoint: engine.volumes.sourceOf(volume.name),
    Name: volume.name,
    Options: volume.options,
    Scope: 'local',
  };
}

/** @throws invalid in Docker's words */
function volumeFilter(engine: Engine, given: Map<string, string[]>): (volume: VolumeInfo) => boolean {
  checkFilters(given, ['dangling', 'driver', 'label', 'name']);
  const dangling = given.get('dangling') ?? [];
  if (dangling.length > 1 || !dangling.every((value) => ['0', '1', 'false', 'true'].includes(value)))
    throw invalid(`invalid filter 'dangling=[${dangling.join(' ')}]'`);
  const wanted = dangling.length === 0 ? null : ['1', 'true'].includes(dangling[0]!);
  const drivers = given.get('driver') ?? [];
  const names = given.get('name') ?? [];
  const named = names.length === 0 ? null : matching(engine, names);
  const labels = new PruneFilters(new Map([['label', given.get('label') ?? []]]));
  return (volume) =>
    (wanted === null || (engine.volumes.usersOf(volume.name).length === 0) === wanted) &&
    (drivers.length === 0 || drivers.includes(volume.driver)) &&
    (named === null || named.has(volume.name)) &&
    labels.allow(Number.NaN, volume.labels ?? {});
}

/** Names that fit a regular expression, or have it in them. @throws invalid for one that takes too long: unlike Go's, these can */
function matching(engine: Engine, expressions: string[]): Set<string> {
  const names = engine.volumes.list().map(({ name }) => name);
  const found = new Set<string>();
  for (const expression of expressions) {
    let test: RegExp | null = null;
    try {
      test = new RegExp(expression);
    } catch {
      // It may be in a name as it is.
    }
    const fitting = withinTime(NAME_MS, () =>
      names.filter((name) => name.includes(expression) || test?.test(name) === true),
    );
    if (fitting === undefined)
      throw invalid(`invalid filter 'name=${expression}': the regular expression takes too long`);
    for (const name of fitting.value) found.add(name);
  }
  return found;
}

async function prune(
  engine: Engine,
  allowed: (volume: VolumeInfo) => boolean,
  signal: AbortSignal,
  progress: PruneProgress,
): Promise<{ deleted: string[]; reclaimed: number }> {
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const volume of engine.volumes.list()) {
    const { name } = volume;
    if (signal.aborted || progress.over()) break;
    if (!allowed(volume) || engine.volumes.usersOf(name).length > 0) continue;
    try {
      const size = await engine.portLayer.volumes.usage(name, signal).catch(() => 0);
      await engine.volumes.remove(name);
      deleted.push(name);
      progress.deleted(name);
      reclaimed += size;
    } catch (error) {
      // A container has it now, or it is gone already.
      if (!isKind(error, 'conflict') && !isKind(error, 'notFound'))
        log.warn({ volume: name, err: messageOf(error) }, 'a volume could not be pruned');
    }
  }
  return { deleted, reclaimed };
}
