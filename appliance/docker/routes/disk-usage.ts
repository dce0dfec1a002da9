/** `docker system df`: what images, containers and volumes take. */
import type { Request, Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { atLeast } from '../api-version.js';
import { withSizes } from '../container-size.js';
import { listView } from '../container-view.js';
import type { Engine } from '../engine.js';
import { imageRow, sharedSizes } from '../image-view.js';
import { hangup, versionOf } from '../request.js';
import { volumeView } from './volumes.js';

const TYPES = ['container', 'image', 'volume', 'build-cache'];

/** Adds the route. */
export function diskUsageRoutes(router: Router, engine: Engine): void {
  router.get('/system/df', async (request, response) => {
    const types = wantedTypes(request);
    const images = types.has('image') ? imageUsage(engine, versionOf(request)) : { LayersSize: 0, Images: null };
    const Containers = types.has('container')
      ? await containerUsage(engine, versionOf(request), hangup(response))
      : null;
    response.json({
      ...images,
      Containers,
      Volumes: types.has('volume') ? await volumeUsage(engine, hangup(response)) : null,
      BuildCache: types.has('build-cache') ? [] : null,
    });
  });
}

/** @throws invalid in Docker's words */
function wantedTypes(request: Request): Set<string> {
  const given: unknown = request.query.type;
  if (given === undefined || !atLeast(versionOf(request), '1.42')) return new Set(TYPES);
  const types = (Array.isArray(given) ? given : [given]).map(String);
  for (const type of types) if (!TYPES.includes(type)) throw invalid(`unknown object type: ${type}`);
  return new Set(types);
}

function imageUsage(engine: Engine, apiVersion: string): object {
  const images = engine.images.list();
  const shared = sharedSizes(images);
  const sizes = new Map<string, number>();
  for (const { chainIds, layerSizes } of images)
    for (const [i, chain] of chainIds.entries()) sizes.set(chain, layerSizes[i] ?? 0);
  const rows = images.map((image) => ({
    ...imageRow(engine, image, apiVersion),
    SharedSize: shared.get(image.id) ?? 0,
  }));
  return { LayersSize: [...sizes.values()].reduce((sum, size) => sum + size, 0), Images: rows };
}

async function containerUsage(engine: Engine, apiVersion: string, signal: AbortSignal): Promise<object[]> {
  const containers = engine.portLayer.exec.list().reverse();
  return withSizes(engine, containers, signal, listView(engine, apiVersion));
}

/** A volume that cannot be read now, since it is being written to, has no size. */
async function volumeUsage(engine: Engine, signal: AbortSignal): Promise<object[]> {
  const rows: object[] = [];
  for (const volume of engine.volumes.list()) {
    const Size = await engine.portLayer.volumes.usage(volume.name, signal).catch(() => -1);
    const RefCount = engine.volumes.usersOf(volume.name).length;
    rows.push({ ...volumeView(engine, volume), UsageData: { RefCount, Size } });
  }
  return rows;
}
