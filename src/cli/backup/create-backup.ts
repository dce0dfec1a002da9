/** Makes a backup of a virtual container host. */
import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import {
  ArchiveWriter,
  type BackedUpVolume,
  backupId,
  type ChunkSink,
  type ChunkSource,
  type Content,
  ContentWriter,
  changedContent,
  type Manifest,
  type Repository,
} from '../../backup/index.js';
import { FrameKind, framesOf } from '../../common/backup-frames.js';
import { messageOf, unavailable } from '../../common/errors.js';
import { type Inventory, inventoryOf, type Selection } from './backup-inventory.js';
import type { VchApi } from './vch-api.js';

/** Marks of a volume that are offered at most: the newest ones. */
const MARKS = 16;

/** Where a backup goes. */
export interface BackupTarget extends ChunkSink {
  /** Bytes and number of the chunks that were written. */
  readonly written: number;
  readonly count: number;
  /** Resolves when all that was put is written. */
  settled(): Promise<void>;
  /** Puts the manifest, which makes it a backup. */
  add(manifest: Manifest): Promise<void>;
}

/** Earlier backups, to base this one on. */
export interface Earlier {
  backups: Manifest[];
  repository: Repository;
}

export interface BackupOptions {
  vch: { id: string; name: string };
  program: string;
  selection: Selection;
  /** With the layers of images, not only their names. */
  images: boolean;
  /** Null: everything is read. */
  earlier: Earlier | null;
  progress(what: string, read: number, written: number): void;
}

/** A state of a volume that a backup has. */
interface Base {
  backup: string;
  disk: NonNullable<BackedUpVolume['disk']>;
}

const recordSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('volume'),
    volume: z.string(),
    capacityBytes: z.int().min(1),
    unitBytes: z.int().min(1),
    base: z.string().nullable(),
    mark: z.string().nullable(),
  }),
  z.object({ type: z.literal('volumeEnd'), volume: z.string() }),
  z.object({ type: z.literal('container'), id: z.string() }),
  z.object({ type: z.literal('containerEnd'), id: z.string() }),
  z.object({ type: z.literal('end') }),
  z.object({ type: z.literal('failed'), message: z.string() }),
]);

/** @returns the backup's manifest, once it is kept @throws what the host answers; unavailable if that breaks off */
export async function createBackup(api: VchApi, target: BackupTarget, options: BackupOptions): Promise<Manifest> {
  const now = new Date();
  const inventory = await inventoryOf(api, options.selection);
  const bases = await basesOf(inventory, options);
  const reading = new BackupReading(target, bases, options);
  const stream = await api.read('POST', '/caisson/backup/read', {
    Volumes: inventory.volumes
      .filter(({ hasDisk }) => hasDisk)
      .map(({ name }) => ({ Name: name, Since: [...(bases.get(name)?.keys() ?? [])] })),
    Containers: inventory.containers.map(({ id }) => id),
  });
  await reading.all(stream);
  const images: Manifest['images'] = [];
  for (const image of inventory.images)
    images.push({ ...image, archive: options.images ? await reading.image(api, image) : null });
  await target.settled();
  const manifest: Manifest = {
    id: backupId(now, randomBytes(4)),
    createdAt: now.toISOString(),
    program: options.program,
    vch: options.vch,
    read: reading.read,
    written: target.written,
    volumes: inventory.volumes.map(({ hasDisk, ...volume }) => ({
      ...volume,
      disk: hasDisk ? given(reading.disks, volume.name) : null,
    })),
    containers: inventory.containers.map((one) => ({ ...one, changes: given(reading.changes, one.id) })),
    networks: inventory.networks,
    images,
  };
  await target.add(manifest);
  return manifest;
}

function given<T>(all: ReadonlyMap<string, T>, name: string): T {
  const found = all.get(name);
  if (found === undefined) throw unavailable(`nothing was sent of ${name}`);
  return found;
}

/** By volume and mark, the states that the next one may be a change of: of this host, with all of their chunks. The newest come first. */
async function basesOf(
  { volumes }: Inventory,
  { earlier, vch }: BackupOptions,
): Promise<Map<string, Map<string, Base>>> {
  const bases = new Map<string, Map<string, Base>>();
  if (earlier === null) return bases;
  const ofHost = earlier.backups.filter((one) => one.vch.id === vch.id).reverse();
  for (const { name } of volumes) {
    const marks = new Map<string, Base>();
    for (const { id, volumes: kept } of ofHost) {
      const disk = kept.find((one) => one.name === name)?.disk;
      if (disk?.mark == null || marks.has(disk.mark) || marks.size >= MARKS) continue;
      if (await earlier.repository.holds(disk.content)) marks.set(disk.mark, { backup: id, disk });
    }
    bases.set(name, marks);
  }
  return bases;
}

/** What is being read at the moment. */
type Open =
  | { type: 'volume'; volume: string; disk: VolumeWriter }
  | { type: 'container'; id: string; archive: ArchiveWriter };

/** Takes in what a host sends. */
class BackupReading {
  readonly disks = new Map<string, NonNullable<BackedUpVolume['disk']>>();
  readonly changes = new Map<string, Content>();
  read = 0;

  constructor(
    private readonly target: BackupTarget,
    private readonly bases: Map<string, Map<string, Base>>,
    private readonly options: BackupOptions,
  ) {}

  /** @throws unavailable if the stream ends before its end */
  async all(stream: Readable): Promise<void> {
    let open: Open | null = null;
    let ended = false;
    try {
      for await (const { kind, content } of framesOf(stream)) {
        this.read += content.length;
        if (kind === FrameKind.record) {
          const record = recordSchema.parse(JSON.parse(content.toString('utf8')));
          if (record.type === 'failed') throw unavailable(record.message);
          if (record.type === 'end') ended = true;
          else open = await this.record(record, open);
        } else if (kind === FrameKind.unit && open?.type === 'volume') {
          await open.disk.unit(content.readUInt32BE(0), content.subarray(4));
          this.tell(`volume ${open.volume}`);
        } else if (kind === FrameKind.bytes && open?.type === 'container') {
          await open.archive.add(content);
          this.tell(`container ${open.id.slice(0, 12)}`);
        } else throw unavailable('what was sent has another order than it should');
      }
    } catch (error) {
      const where = open === null ? '' : ` at ${open.type} ${open.type === 'volume' ? open.volume : open.id}`;
      throw unavailable(`the backup broke off${where}: ${messageOf(error)}`, error);
    }
    if (!ended) throw unavailable('the backup broke off: its end was not sent');
  }

  private async record(
    record: Exclude<z.infer<typeof recordSchema>, { type: 'end' | 'failed' }>,
    open: Open | null,
  ): Promise<Open | null> {
    if (record.type === 'container')
      return { type: 'container', id: record.id, archive: new ArchiveWriter(this.target) };
    if (record.type === 'volume') {
      const { volume, capacityBytes, unitBytes, base, mark } = record;
      const on = base === null ? null : this.bases.get(volume)?.get(base);
      if (on === undefined || (on !== null && on.disk.unitBytes !== unitBytes))
        throw unavailable(`volume ${volume} was sent as a change of something that is not here`);
      const source = this.options.earlier?.repository.chunks ?? null;
      const disk = new VolumeWriter(this.target, { capacityBytes, unitBytes, mark }, on, source);
      return { type: 'volume', volume, disk };
    }
    if (record.type === 'volumeEnd' && open?.type === 'volume') this.disks.set(open.volume, await open.disk.end());
    else if (record.type === 'containerEnd' && open?.type === 'container')
      this.changes.set(open.id, await open.archive.end());
    else throw unavailable('what was sent has another order than it should');
    return null;
  }

  /** The archive of an image, with the names that it has. */
  async image(api: VchApi, { id, tags }: Inventory['images'][number]): Promise<Content> {
    const names = (tags.length === 0 ? [id] : tags).map((name) => `names=${encodeURIComponent(name)}`).join('&');
    const archive = new ArchiveWriter(this.target);
    for await (const piece of await api.read('GET', `/images/get?${names}`)) {
      this.read += (piece as Buffer).length;
      await archive.add(piece as Buffer);
      this.tell(`image ${tags[0] ?? id}`);
    }
    return archive.end();
  }

  private tell(what: string): void {
    this.options.progress(what, this.read, this.target.written);
  }
}

/** Puts a volume's units into chunks. */
class VolumeWriter {
  private readonly whole: ContentWriter | null;
  private readonly changes = new Map<number, string | null>();
  private readonly zeros: Buffer;

  constructor(
    private readonly sink: ChunkSink,
    private readonly disk: { capacityBytes: number; unitBytes: number; mark: string | null },
    private readonly base: Base | null,
    private readonly source: ChunkSource | null,
  ) {
    this.whole = base === null ? new ContentWriter(sink) : null;
    this.zeros = Buffer.alloc(disk.unitBytes);
  }

  async unit(position: number, data: Buffer): Promise<void> {
    const empty = data.equals(this.zeros.subarray(0, data.length));
    const hash = empty ? null : await this.sink.put(data);
    if (this.whole === null) this.changes.set(position, hash);
    else if (hash !== null) await this.whole.add({ position, hash });
  }

  async end(): Promise<NonNullable<BackedUpVolume['disk']>> {
    const { base, source } = this;
    const content =
      this.whole !== null
        ? await this.whole.end()
        : await changedContent(base!.disk.content, this.changes, source!, this.sink);
    return { ...this.disk, content, base: base?.backup ?? null };
  }
}
