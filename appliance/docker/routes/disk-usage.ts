/** `docker system df`: what images and containers take. */
import type { Request, Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import type { Image } from '../../image/types.js';
import { atLeast } from '../api-version.js';
import { withSizes } from '../container-size.js';
import { listView } from '../container-view.js';
import type { Engine } from '../engine.js';
import { hangup, versionOf } from '../request.js';
import { listRow } from './images.js';

const TYPES = ['container', 'image', 'volume', 'build-cache'];

/** Adds the route. */
export function diskUsageRoutes(router: Router, engine: Engine): void {
  router.get('/system/df', async (request, response) => {
    const types = wantedTypes(request);
    const images = types.has('image')
      ? imageUsage(engine, !atLeast(versionOf(request), '1.44'))
      : { LayersSize: 0, Images: null };
    const Containers = types.has('container') ? await containerUsage(engine, hangup(response)) : null;
    response.json({
      ...images,
      Containers,
      Volumes: types.has('volume') ? [] : null,
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

/** How many images stand on each layer. */
function layerUsers(images: Image[]): Map<string, number> {
  const users = new Map<string, number>();
  for (const { chainIds } of images) for (const chain of chainIds) users.set(chain, (users.get(chain) ?? 0) + 1);
  return users;
}

/** @param virtual with the size's former name too */
function imageUsage(engine: Engine, virtual: boolean): object {
  const images = engine.images.list();
  const users = layerUsers(images);
  const sizes = new Map<string, number>();
  const rows = images.map((image) => {
    let shared = 0;
    for (const [i, chain] of image.chainIds.entries()) {
      const size = image.layerSizes[i] ?? 0;
      sizes.set(chain, size);
      if ((users.get(chain) ?? 0) > 1) shared += size;
    }
    const former = virtual ? { VirtualSize: image.size } : {};
    return { ...listRow(engine, image), SharedSize: shared, ...former };
  });
  return { LayersSize: [...sizes.values()].reduce((sum, size) => sum + size, 0), Images: rows };
}

async function containerUsage(engine: Engine, signal: AbortSignal): Promise<object[]> {
  const containers = engine.portLayer.exec.list().reverse();
  return withSizes(engine, containers, signal, (container) => listView(engine, container));
}
