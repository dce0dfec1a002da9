/** Caisson's own routes about volumes: below `/caisson/`, with the authentication of the Docker API. `vic-machine volume` uses them. */
import type { Router } from 'express';
import { z } from 'zod';
import type {
  VolumeArchiveStore,
  VolumeInfo,
  VolumeLifeStore,
  VolumeSnapshot,
  VolumeStore,
} from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { uncompressed } from '../http/archive-compression.js';
import { body, hangup, query } from '../http/request.js';
import { sendTar } from '../http/send-tar.js';
import { parseSize } from './volume-options.js';
import type { VolumeService } from './volume-service.js';

const snapshotSchema = goType('caisson.SnapshotOptions', z.object({ Name: z.string() }));
const cloneSchema = goType(
  'caisson.CloneOptions',
  z.object({ Name: z.string(), Snapshot: z.string().nullish(), Labels: z.record(z.string(), z.string()).nullish() }),
);

const growSchema = goType('caisson.GrowOptions', z.object({ Capacity: z.union([z.string(), z.number()]) }));

const words = z.record(z.string(), z.string()).nullish();
const describedSchema = z.object({ Driver: z.string().nullish(), DriverOpts: words, Labels: words });

/** What the routes need. */
export interface VolumeLifeParts {
  volumes: VolumeService;
  volumeLife: VolumeLifeStore;
  volumeArchives: VolumeArchiveStore;
  volumeStore: Pick<VolumeStore, 'usage'>;
}

/** Adds the routes. */
export function volumeLifeRoutes(
  router: Router,
  { volumes, volumeLife, volumeArchives, volumeStore }: VolumeLifeParts,
): void {
  const view = async (volume: VolumeInfo): Promise<object> => ({
    Name: volume.name,
    CreatedAt: volume.createdAt,
    Driver: volume.driver,
    Capacity: volume.capacityBytes,
    // Unknown while a container writes to it.
    Used: await volumeStore.usage(volume.name).catch(() => -1),
    Disk: volumes.sourceOf(volume.name),
    StandsOn: volume.points?.length ?? 0,
    Containers: volumes.usersOf(volume.name),
    Snapshots: (volume.snapshots ?? []).map(snapshotView),
  });

  router.get('/caisson/volumes', async (_request, response) => {
    const rows: object[] = [];
    for (const volume of volumes.list()) rows.push(await view(volume));
    response.json(rows);
  });

  router.get('/caisson/volumes/:name', async (request, response) => {
    response.json(await view(volumes.get(request.params.name)));
  });

  router.post('/caisson/volumes/:name/snapshots', async (request, response) => {
    const { Name } = await body(request, snapshotSchema);
    const { name } = volumes.get(request.params.name);
    response.status(201).json(snapshotView(await volumeLife.snapshot(name, Name)));
  });

  router.delete('/caisson/volumes/:name/snapshots/:snapshot', async (request, response) => {
    const { name } = volumes.get(request.params.name);
    await volumeLife.removeSnapshot(name, request.params.snapshot);
    response.status(204).end();
  });

  router.post('/caisson/volumes/:name/snapshots/:snapshot/revert', async (request, response) => {
    const { name } = volumes.get(request.params.name);
    response.json(await view(await volumeLife.revert(name, request.params.snapshot)));
  });

  router.post('/caisson/volumes/:name/clone', async (request, response) => {
    const { Name, Snapshot, Labels } = await body(request, cloneSchema);
    const source = volumes.get(request.params.name);
    const from = Snapshot ? `${source.name}@${Snapshot}` : source.name;
    response
      .status(201)
      .json(await view(await volumes.clone(Name, source.driver, { Clone: from }, Labels ?? null, from)));
  });

  router.post('/caisson/volumes/:name/grow', async (request, response) => {
    const { Capacity } = await body(request, growSchema);
    const { name } = volumes.get(request.params.name);
    response.json(await view(await volumeLife.grow(name, capacityBytes(String(Capacity)))));
  });

  router.get('/caisson/volumes/:name/export', async (request, response) => {
    const { name } = volumes.get(request.params.name);
    const format = query(request, 'format') || 'tar';
    if (format !== 'tar' && format !== 'vmdk') throw invalid(`invalid format '${format.slice(0, 80)}': tar or vmdk`);
    const snapshot = query(request, 'snapshot');
    const source = { volume: name, ...(snapshot ? { snapshot } : {}) };
    const archive = await volumeArchives.export(source, format, hangup(response));
    await sendTar(response, archive, format === 'tar' ? 'application/x-tar' : 'application/octet-stream');
  });

  router.post('/caisson/volumes/:name/import', async (request, response) => {
    try {
      const { Driver, DriverOpts, Labels } = described(query(request, 'volume'));
      const capacity = query(request, 'capacity');
      const options = capacity ? { ...DriverOpts, Capacity: `${capacityBytes(capacity)}B` } : (DriverOpts ?? null);
      const archive = { [Symbol.asyncIterator]: () => uncompressed(request) };
      const wish = { name: request.params.name, driver: Driver ?? '', options, labels: Labels ?? null };
      const volume = await volumes.import(wish, (wanted) => volumeArchives.import(wanted, archive, hangup(response)));
      response.status(201).json(await view(volume));
    } finally {
      request.resume();
    }
  });
}

/** What a restored volume was made with, as `POST /volumes/create` takes it. @throws invalid */
function described(text: string | undefined): z.infer<typeof describedSchema> {
  try {
    return describedSchema.parse(JSON.parse(text || '{}'));
  } catch (error) {
    throw invalid('invalid description of a volume', error);
  }
}

const snapshotView = ({ name, createdAt, capacityBytes }: VolumeSnapshot): object => ({
  Name: name,
  CreatedAt: createdAt,
  Capacity: capacityBytes,
});

/** @throws invalid */
function capacityBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined || bytes === 0) throw invalid(`invalid size: '${text.slice(0, 80)}'`);
  return bytes;
}
