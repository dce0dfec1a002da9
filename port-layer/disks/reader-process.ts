/** The endpoint's side of a disk-reading process (`reader/program.ts`): sends it requests, and reads the datastore for it. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { internal, notFound } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { programPath } from '../../src/common/programs.js';
import type { BlockReader } from '../../src/disk/index.js';
import { encodeFrame, type Frame, FrameReader } from './frames.js';
import { type DiskRequest, type FromReader, type ToReader, tellError, toldError } from './messages.js';
import { type ReaderLimits, ReaderWatch } from './reader-watch.js';
import type { PackedRecords } from './records.js';

const log = logger('disks');
/** The program: compiled, even if this file runs from source (in a test). */
const PROGRAM = programPath('port-layer/disks/reader/program.js');
/** How much of its error output is kept. */
const MAX_WORDS = 16_384;
/** After it has opened this many files, a new process takes its place. */
const MAX_FILES = 2_048;

/** The process is gone, and will not answer. */
export class ReaderGone extends Error {}

interface Asked {
  resolve(value: unknown): void;
  reject(error: Error): void;
  /** For a tree. */
  batch?(frame: Frame<{ records: PackedRecords }>): void;
  /** It has sent all it may, and waits for more credit. */
  idle: boolean;
  /** It closes a disk. */
  closes: boolean;
}

/** Where a disk's files come from. @throws notFound; invalid for one that is not the disk's */
export type OpenBlocks = (path: string) => Promise<BlockReader>;

export class ReaderProcess {
  private readonly child: ChildProcess;
  private readonly socket: Duplex;
  private readonly asked = new Map<number, Asked>();
  private readonly files = new Map<number, BlockReader>();
  private readonly sources = new Map<number, OpenBlocks>();
  /** For each disk that is being changed: called when a batch of records is done. */
  readonly taken = new Map<number, (error: Error | null) => void>();
  private readonly watch: ReaderWatch;
  /** When it last sent something (`performance.now()`). Infinity while it is being started. */
  heard = Number.POSITIVE_INFINITY;
  private lastId = 0;
  private lastFile = 0;
  private lastDisk = 0;
  private serving = 0;
  private retired = false;
  /** Batches of records in transit. */
  private puts = 0;
  private words = '';
  private gone: ReaderGone | null = null;

  constructor(limits: ReaderLimits) {
    const memory = [`--max-old-space-size=${limits.heapMiB}`, '--max-semi-space-size=8'];
    // A process that is too busy to notice that the endpoint has ended is killed with it.
    const bound = ['--pdeathsig=KILL', '--no-new-privs', '--'];
    this.child = spawn('setpriv', [...bound, process.execPath, ...memory, PROGRAM], {
      cwd: '/',
      env: { PATH: process.env.PATH ?? '' },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    });
    this.socket = this.child.stdio[3] as Duplex;
    const frames = new FrameReader<FromReader>();
    this.socket.on('data', (piece: Buffer) => {
      try {
        for (const { message, bytes } of frames.push(piece)) this.received(message, bytes);
      } catch (error) {
        log.error({ err: error }, 'a process that reads disks said nonsense');
        this.kill('its reader is broken');
      }
    });
    // The process's exit will tell the reason.
    this.socket.on('error', () => {});
    (this.child.stderr as Readable).on('data', (text: Buffer) => {
      this.words = (this.words + text.toString()).slice(-MAX_WORDS);
    });
    this.child.once('error', (error) => this.end(`its reader cannot be started: ${error.message}`));
    // Not at `exit`: its last output may not have been read by then.
    this.child.once('close', (code, signal) => this.end(this.reasonOf(code, signal)));
    this.watch = new ReaderWatch(
      this.pid,
      limits,
      () => this.puts > 0 || [...this.asked.values()].some(({ idle }) => !idle),
      () => this.serving > 0,
      (reason) => this.kill(reason),
    );
    this.hold(false);
  }

  private reasonOf(code: number | null, signal: NodeJS.Signals | null): string {
    if (/heap out of memory|Allocation failed/.test(this.words)) return 'reading it takes too much memory';
    if (this.words !== '')
      log.warn({ code, signal, words: this.words.slice(-2000) }, 'a process that reads disks ended');
    return `its reader ended (${signal ?? code})`;
  }

  /** No other call may use it: it is gone, or has been used enough. */
  get worn(): boolean {
    return this.gone !== null || this.retired || this.lastFile > MAX_FILES;
  }

  /** Makes it {@link worn}. */
  retire(): void {
    this.retired = true;
  }

  /** 0 if it could not be started. */
  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Whether it is doing anything besides closing disks. */
  get isWorking(): boolean {
    return this.puts > 0 || [...this.asked.values()].some(({ closes }) => !closes);
  }

  private get isIdle(): boolean {
    return this.asked.size === 0 && this.puts === 0;
  }

  /** Whether the child keeps this process from exiting. */
  private hold(yes: boolean): void {
    const handles = [this.child, this.socket, this.child.stderr] as unknown as { ref?(): void; unref?(): void }[];
    for (const handle of handles) yes ? handle.ref?.() : handle.unref?.();
  }

  /** A number for a disk whose files `source` opens. */
  addDisk(source: OpenBlocks): number {
    this.sources.set(++this.lastDisk, source);
    return this.lastDisk;
  }

  forgetDisk(disk: number): void {
    this.sources.delete(disk);
    this.taken.delete(disk);
  }

  /** An open file by its number. @throws ReaderGone, internal */
  file(number: number): BlockReader {
    if (this.gone !== null) throw this.gone;
    const file = this.files.get(number);
    if (file === undefined) throw internal('a place in a file that nobody opened');
    return file;
  }

  /** @throws ReaderGone; whatever the request fails with */
  request(disk: number, request: DiskRequest, batch?: Asked['batch']): { id: number; answer: Promise<unknown> } {
    const id = ++this.lastId;
    if (this.gone !== null) {
      const answer = Promise.reject(this.gone);
      answer.catch(() => {});
      return { id, answer };
    }
    this.begin();
    const answer = new Promise((resolve, reject) => {
      this.asked.set(id, {
        resolve,
        reject,
        idle: false,
        closes: request.op === 'close',
        ...(batch === undefined ? {} : { batch }),
      });
    });
    answer.catch(() => {});
    this.send({ type: 'request', id, disk, request });
    return { id, answer };
  }

  /** Sends records to be stored; `taken` resolves when they are. */
  sendRecords(disk: number, records: PackedRecords, parts: readonly Buffer[]): void {
    if (this.gone !== null) return;
    this.begin();
    this.puts++;
    this.send({ type: 'records', disk, records }, parts);
  }

  private begin(): void {
    if (!this.isIdle) return;
    this.hold(true);
    this.watch.start();
  }

  private settle(): void {
    if (!this.isIdle) return;
    this.watch.stop();
    this.hold(false);
  }

  /** @param idle whether it has sent all that it may */
  setIdle(id: number, idle: boolean): void {
    const asked = this.asked.get(id);
    if (asked === undefined || asked.idle === idle) return;
    asked.idle = idle;
    if (!idle) this.watch.progress();
  }

  send(message: ToReader, bytes: readonly Buffer[] = []): void {
    if (this.gone !== null) return;
    this.socket.cork();
    for (const part of encodeFrame(message, bytes)) if (part.length > 0) this.socket.write(part);
    this.socket.uncork();
  }

  /** Kills it. @param reason what open requests fail with */
  kill(reason: string): void {
    this.end(reason);
    this.child.kill('SIGKILL');
  }

  private end(reason: string): void {
    if (this.gone !== null) return;
    this.gone = new ReaderGone(reason);
    this.watch.stop();
    for (const { reject } of this.asked.values()) reject(this.gone);
    for (const taken of this.taken.values()) taken(this.gone);
    this.asked.clear();
    this.taken.clear();
    this.socket.destroy();
    for (const file of this.files.values()) void file.close().catch(() => undefined);
    this.files.clear();
  }

  private received(message: FromReader, bytes: Buffer): void {
    this.heard = performance.now();
    this.watch.hear();
    switch (message.type) {
      case 'answer':
      case 'failed':
        this.answered(message);
        break;
      case 'batch':
        this.watch.progress();
        this.asked.get(message.id)?.batch?.({ message, bytes });
        break;
      case 'taken':
        this.watch.progress();
        this.puts--;
        this.settle();
        this.taken.get(message.disk)?.(message.error === undefined ? null : toldError(message.error));
        break;
      case 'file':
        void this.serve(message.id, () => this.openFile(message.id, message.disk, message.path));
        break;
      case 'read':
        void this.serve(message.id, async () => {
          const data = await this.file(message.file).read(message.offset, message.length);
          this.send({ type: 'bytes', id: message.id }, [data]);
        });
        break;
      case 'drop':
        void this.files
          .get(message.file)
          ?.close()
          .catch(() => undefined);
        this.files.delete(message.file);
        break;
    }
  }

  private answered(message: FromReader & { type: 'answer' | 'failed' }): void {
    this.watch.progress();
    const asked = this.asked.get(message.id);
    this.asked.delete(message.id);
    this.settle();
    if (message.type === 'answer') asked?.resolve(message.value);
    else asked?.reject(toldError(message.error));
  }

  private async openFile(id: number, disk: number, path: string): Promise<void> {
    const source = this.sources.get(disk);
    if (source === undefined) throw notFound('there is no such disk');
    const file = await source(path);
    const number = ++this.lastFile;
    this.files.set(number, file);
    this.send({ type: 'file', id, file: number, size: file.size });
  }

  private async serve(id: number, work: () => Promise<void>): Promise<void> {
    this.serving++;
    try {
      await work();
    } catch (error) {
      this.send({ type: 'refused', id, error: tellError(error) });
    } finally {
      this.serving--;
      this.watch.hear();
    }
  }
}
