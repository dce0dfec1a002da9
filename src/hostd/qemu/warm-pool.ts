/**
 * The warm pool: a few spare VMs of the usual shape, ready to become the VM that is powered on next. They are made in the background, one
 * at a time and at the lowest priority, while no start is under way and memory is plentiful; when memory is short, they are given up.
 *
 * Owns its spare VMs until they are taken, and ends them when it is closed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { Rounds } from '../../common/rounds.js';
import { machineMemory, SPARE_RESERVE_MIB } from '../admission.js';
import type { BootSnapshot } from './boot-snapshots.js';
import type { VmShape } from './snapshot-builder.js';

const log = logger('pool');
/** How many of the latest starts decide the usual shape. */
const REMEMBERED = 8;
/** Pause after a start, so that what was started comes first. */
const QUIET_MS = 50;
const BUSY_POLL_MS = 20;
/** How often memory is checked while there are spare VMs, or while none could be made. */
const WATCH_MS = 5000;
/** After this many failures in a row no more are made until hostd restarts. */
const ATTEMPTS = 3;

/** What the pool keeps; see {@link SpareVm}. */
export interface Spare {
  readonly key: string;
  dispose(): Promise<void>;
}

/** What the pool asks others for. */
export interface PoolHost<S extends Spare> {
  /** The snapshot with a key, if there is one. */
  snapshot(key: string): Promise<BootSnapshot | null>;
  /** Makes a spare VM. @param gone called if it ends by itself */
  make(shape: VmShape, snapshot: BootSnapshot, gone: (spare: S) => void): Promise<S>;
  /** True while VMs are being started. */
  busy(): boolean;
  /** Free memory in MiB, less what admitted VMs have not taken yet. */
  freeMiB(): number;
}

/** The machine's free memory, less what is promised. */
export function freeMemoryMiB(promisedMiB: number): number {
  return machineMemory().availableMiB - promisedMiB;
}

/** See the file's head. */
export class WarmPool<S extends Spare> {
  private readonly spares: S[] = [];
  private readonly recent: string[] = [];
  private readonly shapes = new Map<string, VmShape>();
  private readonly rounds = new Rounds(() => this.work());
  private failures = 0;
  private closed = false;
  private readonly closing = new AbortController();
  private readonly watch: NodeJS.Timeout;

  /** @param size how many are kept; 0: none */
  constructor(
    private readonly size: number,
    private readonly host: PoolHost<S>,
    watchMs = WATCH_MS,
  ) {
    this.watch = setInterval(() => void this.look(), watchMs);
    this.watch.unref();
  }

  /** How many spare VMs are waiting. */
  get waiting(): number {
    return this.spares.length;
  }

  /** Takes a spare VM that resumed from the snapshot with that key; the caller then owns it. */
  take(key: string): S | null {
    const index = this.spares.findIndex((spare) => spare.key === key);
    return index < 0 ? null : (this.spares.splice(index, 1)[0] ?? null);
  }

  /**
   * Notes that a VM of that shape is powered on: the pool is kept for the shape that was powered on most often recently. A pool of size 0
   * notes it too, for the next hostd, whose pool may be larger.
   * @returns whether that shape has just become the usual one
   */
  note(key: string, shape: VmShape): boolean {
    const before = this.usual();
    this.recent.push(key);
    this.shapes.set(key, shape);
    while (this.recent.length > REMEMBERED) this.recent.shift();
    for (const known of this.shapes.keys()) if (!this.recent.includes(known)) this.shapes.delete(known);
    return before !== key && this.usual() === key;
  }

  /** Fills the pool in the background. Called after a start, and when a snapshot was made. */
  fill(): void {
    if (this.size === 0 || this.closed || this.failures >= ATTEMPTS) return;
    void this.rounds.ask();
  }

  /** Gives up all spare VMs, because their memory is needed. @returns whether there were any */
  async giveUp(): Promise<boolean> {
    const spares = this.spares.splice(0);
    await Promise.all(spares.map((spare) => spare.dispose()));
    return spares.length > 0;
  }

  async close(): Promise<void> {
    this.closed = true;
    this.closing.abort();
    clearInterval(this.watch);
    await this.giveUp();
    await this.rounds.idle();
    await this.giveUp();
  }

  /** The shape that was powered on most often recently; if there are several, the latest of them. */
  private usual(): string | null {
    let best: string | null = null;
    let most = 0;
    for (const key of [...this.recent].reverse()) {
      const count = this.recent.filter((one) => one === key).length;
      if (count > most) {
        best = key;
        most = count;
      }
    }
    return best;
  }

  private async work(): Promise<void> {
    while (!this.closed && this.failures < ATTEMPTS) {
      const key = this.usual();
      const shape = key === null ? undefined : this.shapes.get(key);
      if (key === null || shape === undefined) return;
      await this.giveUpOthers(key);
      if (this.spares.length >= this.size || !this.plenty()) return;
      await this.quiet();
      if (this.closed) return;
      try {
        const snapshot = await this.host.snapshot(key);
        if (snapshot === null) return;
        const spare = await this.host.make(shape, snapshot, (gone) => this.forget(gone));
        this.failures = 0;
        if (this.closed) await spare.dispose();
        else this.spares.push(spare);
      } catch (error) {
        this.failures++;
        if (!this.closed) log.warn({ err: messageOf(error) }, 'a spare VM could not be made');
      }
    }
  }

  private async quiet(): Promise<void> {
    try {
      await sleep(QUIET_MS, undefined, { signal: this.closing.signal });
      while (this.host.busy()) await sleep(BUSY_POLL_MS, undefined, { signal: this.closing.signal });
    } catch {
      // The pool is being closed.
    }
  }

  private forget(spare: S): void {
    const index = this.spares.indexOf(spare);
    if (index >= 0) this.spares.splice(index, 1);
    log.warn('a spare VM has ended');
  }

  private async giveUpOthers(key: string): Promise<void> {
    const others = this.spares.filter((spare) => spare.key !== key);
    for (const other of others) this.spares.splice(this.spares.indexOf(other), 1);
    await Promise.all(others.map((other) => other.dispose()));
  }

  /** True if another spare VM would leave enough memory for starting others. */
  private plenty(): boolean {
    return this.host.freeMiB() >= 2 * SPARE_RESERVE_MIB;
  }

  private async look(): Promise<void> {
    if (this.closed) return;
    if (this.spares.length > 0 && this.host.freeMiB() < SPARE_RESERVE_MIB) {
      log.info({ spares: this.spares.length }, 'memory is short: spare VMs are given up');
      await this.giveUp();
    } else if (this.spares.length < this.size && !this.host.busy()) {
      this.fill();
    }
  }
}
