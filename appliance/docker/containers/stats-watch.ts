/** Measures a container for one client, across its stops and starts. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecService, Meter, ObserveService, ResourceUsage } from '../../../port-layer/index.js';
import { isKind } from '../../../src/common/errors.js';
import { isUp } from './container-state.js';
import { statsView } from './stats.js';

const INTERVAL_MS = 1000;
/** Between the two measurements of a single record: its share of processor time is over this span. */
const SPAN_MS = 900;

/** What measuring depends on. */
export interface StatsParts {
  exec: Pick<ExecService, 'resolve'>;
  observe: Pick<ObserveService, 'meter'>;
}

/** Its owner must `close()` it. */
export class StatsWatch {
  private meter: Meter | null = null;
  /** The run that the meter belongs to. */
  private run = 0;

  /** @param version of the API, in whose form records are given @param gone the client has hung up */
  constructor(
    private readonly parts: StatsParts,
    private readonly id: string,
    private readonly version: string,
    private readonly gone: AbortSignal,
  ) {}

  /** One record. @param oneShot from a single measurement, without a share of processor time */
  async single(oneShot: boolean): Promise<object> {
    const before = oneShot ? null : await this.read();
    if (before !== null) await this.pause(SPAN_MS);
    const now = oneShot || before !== null ? await this.read() : null;
    return this.record(now, before);
  }

  /** A record every second, until the client has gone or the container is removed. @throws what goes wrong before the first one */
  async *records(): AsyncGenerator<object> {
    let before: ResourceUsage | null = null;
    for (let first = true; !this.gone.aborted; ) {
      const began = Date.now();
      try {
        const now = await this.read();
        const record = this.record(now, now === null ? null : before);
        before = now;
        first = false;
        yield record;
      } catch (error) {
        if (this.gone.aborted || (!first && isKind(error, 'notFound'))) return;
        if (first) throw error;
      }
      await this.pause(Math.max(0, began + INTERVAL_MS - Date.now()));
    }
  }

  close(): void {
    this.meter?.close();
    this.meter = null;
  }

  /** What it uses; null while it does not run. */
  private async read(): Promise<ResourceUsage | null> {
    const container = this.parts.exec.resolve(this.id);
    const run = container.startedAt?.getTime() ?? 0;
    if (!isUp(container) || run !== this.run) this.close();
    if (!isUp(container)) return null;
    try {
      this.meter ??= await this.parts.observe.meter(this.id, this.gone);
      this.run = run;
      return await this.meter.read();
    } catch (error) {
      this.close();
      // It has just ended.
      if (isKind(error, 'conflict')) return null;
      throw error;
    }
  }

  private record(now: ResourceUsage | null, before: ResourceUsage | null): object {
    const { id, name } = this.parts.exec.resolve(this.id).spec;
    return statsView({ id, name }, now, before, this.version);
  }

  private pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.gone }).catch(() => undefined);
  }
}
