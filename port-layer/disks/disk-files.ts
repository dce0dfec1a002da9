/**
 * The files on the disk of a stopped container or of a volume. A separate process (`reader-process.ts`) interprets the disk. This side
 * fetches content from the datastore, and replaces the disk with the copy that the process has changed.
 */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { cancelled, internal, isKind, messageOf } from '../../src/common/errors.js';
import { unlessAborted } from '../../src/common/unless-aborted.js';
import { type DiskGrain, GRAIN_BYTES } from '../../src/disk/index.js';
import { isCode, PortLayerError } from '../errors.js';
import { type FileEntry, FileError, type RootFiles, type TreeOptions } from '../files/root-files.js';
import { DiskUploads } from '../storage/disk-publisher.js';
import { type Grow, withoutRoom } from '../storage/storage-reserve.js';
import { contentOf } from './disk-content.js';
import type { DiskSource } from './disk-source.js';
import type { Frame } from './frames.js';
import type { DiskRequest } from './messages.js';
import { ReaderGone, type ReaderProcess } from './reader-process.js';
import { type DiskRecord, type PackedRecords, RecordPack, unpackRecords } from './records.js';
import { UnitMap } from './unit-map.js';

/** Batches of records in transit to the process. */
const MAX_UNDER_WAY = 8;
/** Batches of a tree that the process may have in transit; once read, as many more are requested. */
const AHEAD = 4;
/** Grains that are fetched at the same time. */
const GRAINS_AHEAD = 16;

/** See {@link RootFiles}. The caller that opens it must make sure that the VM stays off. */
export class DiskFiles implements RootFiles {
  private spool: string | null = null;
  private pack = new RecordPack();
  private underWay = 0;
  private failure: Error | null = null;
  private wake: (() => void) | null = null;
  private closed = false;
  private grow: Grow | null = null;

  private constructor(
    private readonly process: ReaderProcess,
    private readonly source: DiskSource,
    private readonly number: number,
    private readonly left: () => void,
    private readonly signal?: AbortSignal,
  ) {}

  /** @param left called once it is closed, but not if opening fails. @throws notFound, cancelled, unavailable */
  static async open(
    process: ReaderProcess,
    source: DiskSource,
    left: () => void,
    signal?: AbortSignal,
  ): Promise<DiskFiles> {
    const release = (await source.hold?.()) ?? (() => undefined);
    const allowed = new Set([source.path, ...source.layers]);
    const number = process.addDisk(async (path) => {
      if (!allowed.has(path)) throw new PortLayerError('disk.foreignParent', { path });
      return source.openBlocks(path);
    });
    const closed = (): void => {
      release();
      left();
    };
    const files = new DiskFiles(process, source, number, closed, signal);
    try {
      await files.ask({ op: 'open', path: source.path, layers: source.layers });
    } catch (error) {
      process.forgetDisk(number);
      release();
      throw error;
    }
    return files;
  }

  async stat(path: string): Promise<FileEntry> {
    return (await this.ask({ op: 'stat', path })) as FileEntry;
  }

  /** Bytes of all files. */
  async usage(): Promise<number> {
    return (await this.ask({ op: 'usage' })) as number;
  }

  /** Whether its root has no entries. */
  async isEmpty(): Promise<boolean> {
    return (await this.ask({ op: 'empty' })) as boolean;
  }

  /** Whether it has a journal that must be replayed. */
  async isDirty(): Promise<boolean> {
    return (await this.ask({ op: 'dirty' })) as boolean;
  }

  /** Replays its journal. */
  async recover(): Promise<void> {
    await this.copied();
    await this.finish();
  }

  async *tree(path: string, options: TreeOptions): AsyncGenerator<FileEntry | Buffer> {
    try {
      for await (const records of this.batches({ op: 'tree', path, options }))
        yield* contentOf(records, (file) => this.process.file(file));
    } catch (error) {
      throw this.told(error);
    }
  }

  /** The content of the whole disk: its grains that are not empty, in order. */
  grains(): AsyncGenerator<DiskGrain> {
    return this.grainsOf({ op: 'grains' });
  }

  /**
   * Runs of `unit` grains of which one of the first `files` files of the chain says anything: the grains in them that are not empty, in
   * order; `told` is given, at the end, which runs these were.
   */
  said(
    { files, unit, capacityBytes }: { files: number; unit: number; capacityBytes: number },
    told: (runs: UnitMap) => void,
  ): AsyncGenerator<DiskGrain> {
    return this.grainsOf({ op: 'said', files, unit }, (answer) => {
      const map = UnitMap.of(Math.ceil(capacityBytes / GRAIN_BYTES / unit), answer);
      if (map === null) throw internal('the disk was described in another way than asked for');
      told(map);
    });
  }

  private async *grainsOf(request: DiskRequest, answered?: (answer: unknown) => void): AsyncGenerator<DiskGrain> {
    let index = 0;
    try {
      for await (const records of this.batches(request, answered)) {
        const places: { index: number; data: Promise<Buffer> }[] = [];
        for (const record of records)
          if (record.type === 'zeros') index += Math.ceil(record.length / GRAIN_BYTES);
          else if (record.type === 'place' && record.length <= GRAIN_BYTES) {
            const data = this.process.file(record.file).read(record.offset, record.length);
            // The error is thrown when this grain's turn comes.
            data.catch(() => undefined);
            places.push({ index: index++, data });
            if (places.length >= GRAINS_AHEAD) yield* fetched(places.splice(0, 1));
          } else throw internal('the disk was described in another way than asked for');
        yield* fetched(places);
      }
    } catch (error) {
      throw this.told(error);
    }
  }

  /** The records that answer a request. Its errors are those of the process. */
  private async *batches(
    request: DiskRequest,
    answered?: (value: unknown) => void,
  ): AsyncGenerator<Iterable<DiskRecord>> {
    const batches: Frame<{ records: PackedRecords }>[] = [];
    let wake: (() => void) | null = null;
    let wanted = AHEAD;
    const { id, answer } = this.process.request(this.number, request, (batch) => {
      batches.push(batch);
      this.process.setIdle(id, --wanted <= 0);
      wake?.();
    });
    let ended = false;
    const end = (): void => {
      ended = true;
      wake?.();
    };
    answer.then(end, end);
    try {
      for (;;) {
        if (this.signal?.aborted) throw cancelled('the request was cancelled');
        const batch = batches.shift();
        if (batch !== undefined) {
          wanted++;
          this.process.setIdle(id, false);
          this.process.send({ type: 'credit', id, batches: 1 });
          yield unpackRecords(batch.message.records, batch.bytes);
          continue;
        }
        if (ended) break;
        const more = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await (this.signal === undefined ? more : unlessAborted(more, this.signal));
      }
      const value = await answer;
      answered?.(value);
    } finally {
      if (!ended) {
        this.process.setIdle(id, false);
        this.process.send({ type: 'cancel', id });
      }
    }
  }

  async put(entry: FileEntry, keepKind: boolean): Promise<void> {
    if (this.signal?.aborted) throw cancelled('the request was cancelled');
    await this.copied();
    this.pack.entry(entry, keepKind);
    if (this.source.stepByStep === true) {
      await this.flush();
      await this.ask({ op: 'sync' });
    } else if (this.pack.full) await this.flush();
    if (this.failure !== null) throw this.told(this.failure);
  }

  async data(bytes: Buffer): Promise<void> {
    if (this.spool === null) return;
    await this.grow?.(bytes.length);
    this.pack.data(bytes);
    if (this.pack.full) await this.flush();
    if (this.failure !== null) throw this.told(this.failure);
  }

  /** Directories already have their times, and nothing done here changes them. */
  async times(): Promise<void> {}

  async finish(): Promise<void> {
    if (this.spool === null) return;
    await this.flush();
    await this.ask({ op: 'finish' });
    const local = this.local(this.spool);
    const { datastore, path, room } = this.source;
    await new DiskUploads(datastore, room).publish(local, path, this.signal);
  }

  async freeze(): Promise<void> {}

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const { answer } = this.process.request(this.number, { op: 'close' });
    try {
      if (this.spool !== null) {
        // The process may still write to it.
        await answer.catch(() => undefined);
        await rm(this.spool, { recursive: true, force: true });
      }
    } finally {
      this.process.forgetDisk(this.number);
      this.left();
    }
  }

  private local(spool: string): string {
    return join(spool, posix.basename(this.source.path));
  }

  /** Makes the copy to be changed, before the first record is stored. */
  private async copied(): Promise<void> {
    if (this.spool !== null) return;
    const { datastore, path, spoolDir, room } = this.source;
    if (room != null) {
      await room.check((await datastore.size(path)) ?? 0);
      this.grow = room.growing(false);
    }
    this.spool = await mkdtemp(join(spoolDir, 'disk-'));
    await pipeline(
      await datastore.get(path, this.signal ? { signal: this.signal } : {}),
      createWriteStream(this.local(this.spool), { mode: 0o600, highWaterMark: 1 << 20 }),
    );
    this.process.taken.set(this.number, (error) => {
      this.underWay--;
      this.failure ??= error;
      this.wake?.();
    });
    await this.ask({ op: 'change', local: this.local(this.spool) });
  }

  /** Sends the gathered records, once enough of the earlier ones are done. */
  private async flush(): Promise<void> {
    if (this.pack.empty) return;
    while (this.underWay >= MAX_UNDER_WAY && this.failure === null)
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    const { records, parts } = this.pack.take();
    if (this.failure !== null) return;
    this.underWay++;
    this.process.sendRecords(this.number, records, parts);
  }

  private async ask(request: DiskRequest): Promise<unknown> {
    const { answer } = this.process.request(this.number, request);
    try {
      return await (this.signal === undefined ? answer : unlessAborted(answer, this.signal));
    } catch (error) {
      throw this.told(error);
    }
  }

  private told(error: unknown): unknown {
    return unreadable(withoutRoom(error), this.source.what, this.spool === null ? 'read' : 'changed');
  }
}

async function* fetched(grains: { index: number; data: Promise<Buffer> }[]): AsyncGenerator<DiskGrain> {
  for (const { index, data } of grains) yield { index, data: await data };
}

/** The caller's error for a corrupt disk, or for a reader process that has ended. */
export function unreadable(error: unknown, what: string, doing = 'read'): unknown {
  if (error instanceof FileError || (error instanceof Error && error.name === 'AbortError')) return error;
  const hostile = ['invalid', 'unsupported', 'internal', 'unavailable'] as const;
  if (!(error instanceof ReaderGone) && !hostile.some((kind) => isKind(error, kind))) return error;
  // The process may have passed this error on from the endpoint.
  if (isCode(error, 'disk.unreadable') && error.subject.what === what && error.subject.doing === doing) return error;
  return new PortLayerError('disk.unreadable', { what, doing, reason: messageOf(error) }, error);
}
