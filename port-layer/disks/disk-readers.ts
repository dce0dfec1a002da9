/**
 * Reads disks that a guest may have written to, in separate processes: one for each call, and a few at a time. A hostile disk only makes
 * its own call fail, and delays nobody else.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelled } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { Semaphore } from '../../src/common/semaphore.js';
import { PortLayerError } from '../errors.js';
import { ClientWaits } from './client-waits.js';
import { DiskFiles } from './disk-files.js';
import type { DiskSource } from './disk-source.js';
import { ReaderProcess } from './reader-process.js';
import { READER_LIMITS, type ReaderLimits } from './reader-watch.js';

const log = logger('disks');
/** Calls that may read disks at the same time; further ones wait. */
const AT_ONCE = 8;
/** Calls with slow clients that may continue in addition, while others wait. */
const SLOW_AT_ONCE = 8;
/** How long a process gets to stop work that nobody wants any more. */
const LEAVE_MS = 2_000;

export class DiskReaders {
  private readonly slots = new Semaphore(AT_ONCE);
  /** Idle processes with their timers, the most recently used last. */
  private readonly idle: { process: ReaderProcess; timer: NodeJS.Timeout }[] = [];
  private readonly used = new Set<ReaderProcess>();
  private readonly limits: ReaderLimits;
  /** Calls that have a process, including those that have lost their place to others. */
  private readonly calls = new Set<DiskCall>();
  private readonly slow = new Set<DiskCall>();
  private looking: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(limits: Partial<ReaderLimits> = {}) {
    this.limits = { ...READER_LIMITS, ...limits };
  }

  /** Number of processes. */
  get size(): number {
    return this.idle.length + this.used.size;
  }

  /** Ids of the processes in use. */
  get busy(): number[] {
    return [...this.used].map(({ pid }) => pid);
  }

  /** What one call of the API does with disks. */
  call(signal?: AbortSignal): DiskCall {
    return new DiskCall(this, signal);
  }

  /** Opens one disk for as long as `body` needs it. */
  async using<T>(source: DiskSource, body: (disk: DiskFiles) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const disk = await this.call(signal).open(source);
    try {
      return await body(disk);
    } finally {
      await disk.close();
    }
  }

  /** A call has been given a process. */
  begin(call: DiskCall): void {
    this.calls.add(call);
    this.looking ??= setInterval(() => this.look(), Math.min(500, this.limits.slowClientMs / 2)).unref();
  }

  /** Its process is no longer needed. */
  end(call: DiskCall, process: ReaderProcess): void {
    this.calls.delete(call);
    const slow = this.slow.delete(call);
    if (this.calls.size === 0 && this.looking !== null) {
      clearInterval(this.looking);
      this.looking = null;
    }
    void this.giveBack(process, !slow);
  }

  /**
   * Makes sure that a slow client delays nobody: others get its place. Its call continues in addition to theirs, but if there are too many
   * such calls, the slowest is given up.
   */
  private look(): void {
    const { clientMs, slowClientMs } = this.limits;
    for (const call of this.calls) {
      if (call.client.now > clientMs) this.giveUp(call, `its client did nothing for ${Math.round(clientMs / 1000)} s`);
      else if (this.slots.waiting > 0 && !this.slow.has(call) && call.client.total > slowClientMs) {
        this.slow.add(call);
        this.slots.release();
      }
    }
    if (this.slow.size <= SLOW_AT_ONCE) return;
    const slowest = [...this.slow].sort((a, b) => a.client.rate - b.client.rate)[0]!;
    this.giveUp(slowest, 'its client is slow, and others wait');
  }

  private giveUp(call: DiskCall, reason: string): void {
    const error = new PortLayerError('disk.givenUp', { reason });
    if (call.client.giveUp(error)) log.warn({ reason }, 'gave up on a client that keeps a disk waiting');
  }

  /** A process for one caller. @throws cancelled */
  async take(signal?: AbortSignal): Promise<ReaderProcess> {
    await this.slots.acquire(signal);
    if (this.closed) {
      this.slots.release();
      throw new PortLayerError('disk.closing', {});
    }
    for (let one = this.idle.pop(); one !== undefined; one = this.idle.pop()) {
      clearTimeout(one.timer);
      if (one.process.worn) {
        one.process.kill('it has been used for long');
        continue;
      }
      this.used.add(one.process);
      return one.process;
    }
    const process = new ReaderProcess(this.limits);
    this.used.add(process);
    return process;
  }

  /** Called after its disks were closed. @param place whether it holds a place */
  async giveBack(process: ReaderProcess, place = true): Promise<void> {
    for (let waited = 0; process.isWorking && !process.worn && waited < LEAVE_MS; waited += 20) await sleep(20);
    this.used.delete(process);
    if (place) this.slots.release();
    if (process.worn || this.closed || process.isWorking) return process.kill('it was not needed any more');
    // One stays for the next call, because starting a process would take half the time of a small call.
    const limit = this.idle.length === 0 ? this.limits.lastIdleMs : this.limits.idleMs;
    const timer = setTimeout(() => {
      this.idle.splice(
        this.idle.findIndex((one) => one.process === process),
        1,
      );
      process.kill('it was not needed any more');
    }, limit).unref();
    this.idle.push({ process, timer });
  }

  /** Layers were removed, so processes that have them open must not be used again. */
  forgetLayers(): void {
    for (const { process } of this.idle) process.retire();
    for (const process of this.used) process.retire();
  }

  close(): void {
    this.closed = true;
    for (const { process, timer } of this.idle.splice(0)) {
      clearTimeout(timer);
      process.kill('the engine is stopping');
    }
    for (const process of this.used) process.kill('the engine is stopping');
  }
}

/** The disks that one call needs, all read by one process, so that no call that has a process waits for a second one. */
export class DiskCall {
  /** The clients that its disks are read or written for. */
  readonly client = new ClientWaits();
  private process: Promise<ReaderProcess> | null = null;
  private taken: ReaderProcess | null = null;
  private opened = 0;

  constructor(
    private readonly readers: DiskReaders,
    private readonly signal?: AbortSignal,
  ) {}

  /**
   * When the reading process was last heard from (`performance.now()`). Infinity if it has not begun: it waits for others, or is being
   * started.
   */
  get heard(): number {
    return this.taken?.heard ?? Number.POSITIVE_INFINITY;
  }

  /** @throws notFound, cancelled, unavailable ("the filesystem of … cannot be read: …") */
  async open(source: DiskSource): Promise<DiskFiles> {
    if (this.signal?.aborted) throw cancelled('the request was cancelled');
    this.opened++;
    this.process ??= this.take();
    const { process } = this;
    try {
      this.taken = await process;
      return await DiskFiles.open(this.taken, source, () => this.leave(), this.signal);
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  private async take(): Promise<ReaderProcess> {
    const process = await this.readers.take(this.signal);
    this.readers.begin(this);
    return process;
  }

  private leave(): void {
    if (--this.opened > 0) return;
    const { process } = this;
    this.process = null;
    this.taken = null;
    process?.then((taken) => this.readers.end(this, taken)).catch(() => undefined);
  }
}
