/** `docker system df`: what images, containers and volumes take. */
import type { Request, Router } from 'express';
import { invalid } from '../../../src/common/errors.js';
import { withSizes } from '../containers/container-size.js';
import { listView } from '../containers/list-view.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { flag, hangup, versionOf } from '../http/request.js';
import { imageRow, sharedSizes } from '../images/image-view.js';
import { volumeView } from '../volumes/volume-routes.js';

const TYPES = ['container', 'image', 'volume', 'build-cache'];

/** Adds the route. */
export function diskUsageRoutes(router: Router, engine: Engine): void {
  router.get('/system/df', async (request, response) => {
    const version = versionOf(request);
    const types = wantedTypes(request);
    const signal = hangup(response);
    const images = types.has('image') ? imageUsage(engine, version) : null;
    const containers = types.has('container') ? await containerUsage(engine, version, signal) : null;
    const volumes = types.has('volume') ? await volumeUsage(engine, signal) : null;
    const caches = types.has('build-cache') ? [] : null;
    const legacy = {
      LayersSize: images?.LayersSize ?? 0,
      Images: images?.Images ?? null,
      Containers: containers,
      Volumes: volumes,
      BuildCache: caches,
    };
    if (!atLeast(version, '1.52')) {
      response.json(legacy);
      return;
    }
    const verbose = flag(request, 'verbose');
    const both = !verbose && !atLeast(version, '1.53');
    // 1.52 has both forms, for who does not ask for the new one; what was not asked for is left out.
    const left = Object.entries(legacy).filter(([, value]) => value !== null && value !== 0);
    response.json({
      ...(both ? Object.fromEntries(left) : {}),
      ...(images === null ? {} : { ImageUsage: summary(imageTotals(images), images.Images, verbose) }),
      ...(containers === null ? {} : { ContainerUsage: summary(containerTotals(containers), containers, verbose) }),
      ...(volumes === null ? {} : { VolumeUsage: summary(volumeTotals(volumes), volumes, verbose) }),
      ...(caches === null ? {} : { BuildCacheUsage: summary(NOTHING, caches, verbose) }),
    });
  });
}

/** What a kind of things takes, in bytes. */
interface Totals {
  ActiveCount: number;
  TotalSize: number;
  Reclaimable: number;
}

const NOTHING: Totals = { ActiveCount: 0, TotalSize: 0, Reclaimable: 0 };

/** As Docker writes it: what is 0 or empty is left out. */
function summary(totals: Totals, rows: object[], verbose: boolean): object {
  const whole = { ...totals, TotalCount: rows.length, Items: verbose ? rows : [] };
  return Object.fromEntries(
    Object.entries(whole).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value !== 0)),
  );
}

interface ImageRow {
  Containers: number;
  Size: number;
  SharedSize: number;
}

/** What only unused images have can be had back. */
function imageTotals({ LayersSize, Images }: { LayersSize: number; Images: ImageRow[] }): Totals {
  const unused = Images.filter(({ Containers }) => Containers === 0);
  return {
    ActiveCount: Images.length - unused.length,
    TotalSize: LayersSize,
    Reclaimable: unused.reduce((sum, { Size, SharedSize }) => sum + Size - SharedSize, 0),
  };
}

interface ContainerRow {
  State: string;
  SizeRw?: number;
}

function containerTotals(rows: ContainerRow[]): Totals {
  const idle = rows.filter(({ State }) => !['running', 'paused', 'restarting'].includes(State));
  const size = (some: ContainerRow[]): number => some.reduce((sum, { SizeRw = 0 }) => sum + SizeRw, 0);
  return { ActiveCount: rows.length - idle.length, TotalSize: size(rows), Reclaimable: size(idle) };
}

interface VolumeRow {
  UsageData: { RefCount: number; Size: number };
}

/** A volume whose size is not known counts as one that is used, as in Docker. */
function volumeTotals(rows: VolumeRow[]): Totals {
  const known = rows.map(({ UsageData }) => UsageData).filter(({ Size }) => Size !== -1);
  const unused = known.filter(({ RefCount }) => RefCount === 0);
  const size = (some: { Size: number }[]): number => some.reduce((sum, { Size }) => sum + Size, 0);
  return { ActiveCount: rows.length - unused.length, TotalSize: size(known), Reclaimable: size(unused) };
}

/** @throws invalid in Docker's words */
function wantedTypes(request: Request): Set<string> {
  const given: unknown = request.query.type;
  if (given === undefined || !atLeast(versionOf(request), '1.42')) return new Set(TYPES);
  const types = (Array.isArray(given) ? given : [given]).map(String);
  for (const type of types) if (!TYPES.includes(type)) throw invalid(`unknown object type: ${type}`);
  return new Set(types);
}

function imageUsage(engine: Engine, apiVersion: string): { LayersSize: number; Images: ImageRow[] } {
  const images = engine.images.list();
  const shared = sharedSizes(images);
  const sizes = new Map<string, number>();
  for (const { chainIds, layerSizes } of images)
    for (const [i, chain] of chainIds.entries()) sizes.set(chain, layerSizes[i] ?? 0);
  const rows = images.map((image) => ({
    ...imageRow(engine, image, apiVersion),
    Containers: engine.containerImages.usersOf(image.id).length,
    Size: image.size,
    SharedSize: shared.get(image.id) ?? 0,
  }));
  return { LayersSize: [...sizes.values()].reduce((sum, size) => sum + size, 0), Images: rows };
}

async function containerUsage(engine: Engine, apiVersion: string, signal: AbortSignal): Promise<ContainerRow[]> {
  const containers = engine.portLayer.exec.list().reverse();
  return (await withSizes(engine, containers, signal, listView(engine.views, apiVersion))) as ContainerRow[];
}

/** A volume that cannot be read now, since it is being written to, has no size. */
async function volumeUsage(engine: Engine, signal: AbortSignal): Promise<VolumeRow[]> {
  const rows: VolumeRow[] = [];
  for (const volume of engine.volumes.list()) {
    const Size = await engine.portLayer.volumes.usage(volume.name, signal).catch(() => -1);
    const RefCount = engine.volumes.usersOf(volume.name).length;
    rows.push({ ...volumeView(engine, volume), UsageData: { RefCount, Size } });
  }
  return rows;
}
