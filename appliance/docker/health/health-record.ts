/**
 * Keeps the health of containers for the next endpoint: one value in the key-value store for each container. It is written when the status
 * changes and when the endpoint stops, but not for a probe that finds the same as the one before.
 */
import { z } from 'zod';
import type { KeyValueStore } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { type HealthState, KEPT_RESULTS } from './health-state.js';

const log = logger('docker');
const keyOf = (id: string): string => `health.${id}`;
/** The endpoint and the guest tell the start of a run a little differently, by less than this. */
const SAME_RUN_MS = 2000;

const schema = z.object({
  /** When the run began, in milliseconds since 1970; null: it is over. */
  run: z.number().nullable(),
  status: z.enum(['starting', 'healthy', 'unhealthy']),
  failingStreak: z.number().int().min(0),
  log: z
    .array(z.object({ start: z.coerce.date(), end: z.coerce.date(), exitCode: z.number().int(), output: z.string() }))
    .max(KEPT_RESULTS),
});

/** A container's health as it was kept, and whether that was in its current run. */
export interface RecordedHealth {
  state: HealthState;
  sameRun: boolean;
}

/** The records of all containers. Writes for the same container are done in order. */
export class HealthRecords {
  private readonly writing = new Map<string, Promise<void>>();
  private readonly written = new Set<string>();

  constructor(private readonly kv: KeyValueStore) {}

  /**
   * @param startedAt when its current run began; null: it does not run
   * @returns null: nothing is kept, or it cannot be read
   */
  async read(id: string, startedAt: Date | null): Promise<RecordedHealth | null> {
    try {
      const bytes = await this.kv.get(keyOf(id));
      if (bytes === undefined) return null;
      const { run, ...state } = schema.parse(JSON.parse(bytes.toString('utf8')));
      this.written.add(id);
      const sameRun = run !== null && startedAt !== null && Math.abs(run - startedAt.getTime()) < SAME_RUN_MS;
      return { state, sameRun };
    } catch (error) {
      log.warn({ container: id, err: messageOf(error) }, 'the kept health of a container cannot be read');
      return null;
    }
  }

  /** @param startedAt null: the run is over */
  write(id: string, state: HealthState, startedAt: Date | null): void {
    this.written.add(id);
    const record: z.input<typeof schema> = { ...state, log: [...state.log], run: startedAt?.getTime() ?? null };
    this.next(id, () => this.kv.put(keyOf(id), Buffer.from(JSON.stringify(record))));
  }

  delete(id: string): void {
    if (this.written.delete(id)) this.next(id, () => this.kv.delete(keyOf(id)));
  }

  /** Resolves when everything is written. */
  async settled(): Promise<void> {
    await Promise.all(this.writing.values());
  }

  private next(id: string, body: () => Promise<void>): void {
    const done: Promise<void> = (this.writing.get(id) ?? Promise.resolve())
      .then(body)
      .catch((error: unknown) =>
        log.warn({ container: id, err: messageOf(error) }, 'the health of a container could not be kept'),
      )
      .finally(() => {
        if (this.writing.get(id) === done) this.writing.delete(id);
      });
    this.writing.set(id, done);
  }
}
