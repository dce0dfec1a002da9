/** `docker system df`: how much disk images, containers and volumes take. */
import type { ExecService, VolumeStore } from '../../../port-layer/index.js';
import type { ImageService } from '../../image/index.js';
import { type SizeSources, withSizes } from '../containers/container-size.js';
import { listView } from '../containers/list-view.js';
import type { ViewSources } from '../containers/view-sources.js';
import { atLeast } from '../http/api-version.js';
import type { ContainerImages } from '../images/container-images.js';
import { filterImages } from '../images/image-filters.js';
import { imageRow, sharedSizes } from '../images/image-view.js';
import type { VolumeService } from '../volumes/volume-service.js';
import { volumeView } from '../volumes/volume-view.js';

/** What can be asked for. */
export const USAGE_TYPES = ['container', 'image', 'volume', 'build-cache'];

/** What it is told from. */
export interface UsageSources extends SizeSources {
  exec: Pick<ExecService, 'list'>;
  images: Pick<ImageService, 'list' | 'resolve'>;
  containerImages: Pick<ContainerImages, 'of' | 'usersOf'>;
  volumes: Pick<VolumeService, 'list' | 'usersOf' | 'sourceOf'>;
  volumeStore: Pick<VolumeStore, 'usage'>;
  views: ViewSources;
}

/** The answer in the form of an API version. @param verbose list each thing, not only the sums */
export async function diskUsage(
  sources: UsageSources,
  types: Set<string>,
  { version, verbose }: { version: string; verbose: boolean },
  signal: AbortSignal,
): Promise<object> {
  const images = types.has('image') ? imageUsage(sources, version) : null;
  const containers = types.has('container') ? await containerUsage(sources, version, signal) : null;
  const volumes = types.has('volume') ? await volumeUsage(sources, signal) : null;
  const caches = types.has('build-cache') ? [] : null;
  const legacy = {
    LayersSize: images?.LayersSize ?? 0,
    Images: images?.Images ?? null,
    Containers: containers,
    Volumes: volumes,
    BuildCache: caches,
  };
  if (!atLeast(version, '1.52')) return legacy;
  // 1.52 answers in both forms unless the new one was asked for. Types that were not asked for are left out.
  const both = !verbose && !atLeast(version, '1.53');
  const given = Object.entries(legacy).filter(([, value]) => value !== null && value !== 0);
  return {
    ...(both ? Object.fromEntries(given) : {}),
    ...(images === null ? {} : { ImageUsage: summary(imageTotals(images), images.Images, verbose) }),
    ...(containers === null ? {} : { ContainerUsage: summary(containerTotals(containers), containers, verbose) }),
    ...(volumes === null ? {} : { VolumeUsage: summary(volumeTotals(volumes), volumes, verbose) }),
    ...(caches === null ? {} : { BuildCacheUsage: summary(NOTHING, caches, verbose) }),
  };
}

/** How much images, containers or volumes take, in bytes. */
interface Totals {
  ActiveCount: number;
  TotalSize: number;
  Reclaimable: number;
}

const NOTHING: Totals = { ActiveCount: 0, TotalSize: 0, Reclaimable: 0 };

/** Like Docker, leaves out what is 0 or empty. */
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

/** What only unused images have can be reclaimed. */
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

/** Like Docker, counts a volume of unknown size as used. */
function volumeTotals(rows: VolumeRow[]): Totals {
  const known = rows.map(({ UsageData }) => UsageData).filter(({ Size }) => Size !== -1);
  const unused = known.filter(({ RefCount }) => RefCount === 0);
  const size = (some: { Size: number }[]): number => some.reduce((sum, { Size }) => sum + Size, 0);
  return { ActiveCount: rows.length - unused.length, TotalSize: size(known), Reclaimable: size(unused) };
}

function imageUsage(
  { images: service, containerImages }: UsageSources,
  apiVersion: string,
): { LayersSize: number; Images: ImageRow[] } {
  const all = service.list();
  const sizes = new Map<string, number>();
  for (const { chainIds, layerSizes, blobSizes = [] } of all)
    for (const [i, chain] of chainIds.entries()) sizes.set(chain, (layerSizes[i] ?? 0) + (blobSizes[i] ?? 0));
  const images = filterImages(service, new Map());
  const shared = sharedSizes(all);
  const rows = images.map((image) => {
    const users = containerImages.usersOf(image.id).length;
    return {
      ...imageRow(image, users, apiVersion),
      Containers: users,
      Size: image.size,
      SharedSize: shared(image),
    };
  });
  return { LayersSize: [...sizes.values()].reduce((sum, size) => sum + size, 0), Images: rows };
}

async function containerUsage(sources: UsageSources, apiVersion: string, signal: AbortSignal): Promise<ContainerRow[]> {
  const containers = sources.exec.list().reverse();
  return (await withSizes(sources, containers, signal, listView(sources.views, apiVersion))) as ContainerRow[];
}

/** The size of a volume is unknown while it cannot be read because it is being written to. */
async function volumeUsage({ volumes, volumeStore }: UsageSources, signal: AbortSignal): Promise<VolumeRow[]> {
  const rows: VolumeRow[] = [];
  for (const volume of volumes.list()) {
    // Docker counts none that it mounts from elsewhere.
    if (volume.mount !== undefined) continue;
    const Size = await volumeStore.usage(volume.name, signal).catch(() => -1);
    const RefCount = volumes.usersOf(volume.name).length;
    rows.push({ ...volumeView(volume, volumes.sourceOf(volume.name)), UsageData: { RefCount, Size } });
  }
  return rows;
}
