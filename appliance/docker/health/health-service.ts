/** The health of all containers: probes, with execs, those that run and have a check, and publishes when their health changes. */
import type { ContainerInfo, KeyValueStore } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { recordOf } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import { type HealthCheck, healthCheck } from './health-check.js';
import { HealthMonitor } from './health-monitor.js';
import { HealthRecords } from './health-record.js';
import { type HealthState, startingHealth, unwatchedHealth } from './health-state.js';
import { type ProbeParts, probe } from './probe.js';

const log = logger('docker');

/** What health depends on. */
export interface HealthContext extends ProbeParts {
  /** Keeps health for the next endpoint. */
  kv: KeyValueStore;
}

/** There is one for an engine. */
export class HealthService {
  private readonly states = new Map<string, HealthState>();
  private readonly monitors = new Map<string, HealthMonitor>();

  private readonly records: HealthRecords;
  /** When the current runs began, and the containers whose newest results are not kept yet. */
  private readonly runs = new Map<string, Date>();
  private readonly unkept = new Set<string>();

  constructor(private readonly context: HealthContext) {
    this.records = new HealthRecords(context.kv);
  }

  /** null: it has no check, or never ran. */
  state(id: string): HealthState | null {
    return this.states.get(id) ?? null;
  }

  /** Stops probing, and keeps what is known. */
  async close(): Promise<void> {
    for (const monitor of this.monitors.values()) monitor.stop();
    this.monitors.clear();
    for (const id of this.unkept) this.keep(id);
    await this.records.settled();
  }

  /** A run has begun. */
  started(container: ContainerInfo): void {
    const check = checkOf(container);
    if (check === null) return;
    const { id } = container.spec;
    this.states.set(id, startingHealth(this.state(id)));
    this.runs.set(id, startOf(container));
    this.watch(container, check);
  }

  /** Before the API is served: reads what the endpoint before this one knew. Probing goes on with {@link found}. */
  async recall(containers: ContainerInfo[]): Promise<void> {
    await Promise.all(
      containers.map(async (container) => {
        if (checkOf(container) === null) return;
        const { id } = container.spec;
        const runs = isUp(container);
        const known = await this.records.read(id, runs ? container.startedAt : null);
        if (known === null) return;
        if (known.sameRun) this.runs.set(id, startOf(container));
        this.states.set(id, known.sameRun || runs ? known.state : unwatchedHealth(known.state));
      }),
    );
  }

  /** A run was under way when the endpoint started: goes on where the endpoint before stopped, if that is known. */
  found(container: ContainerInfo): void {
    const check = checkOf(container);
    if (check === null) return;
    if (!this.runs.has(container.spec.id)) this.started(container);
    else if (!container.paused) this.watch(container, check, this.state(container.spec.id)?.log.at(-1)?.end);
  }

  /** It was unpaused: probes it again. */
  resumed(container: ContainerInfo): void {
    const check = checkOf(container);
    if (check !== null && this.states.has(container.spec.id)) this.watch(container, check);
  }

  /** It was paused: stops probing it. */
  paused(id: string): void {
    const monitor = this.monitors.get(id);
    const state = this.states.get(id);
    if (monitor === undefined || state === undefined) return;
    monitor.stop();
    this.monitors.delete(id);
    this.states.set(id, unwatchedHealth(state));
    this.keep(id);
  }

  /** Its run is over. */
  stopped(id: string): void {
    const [ran, watched] = [this.runs.delete(id), this.monitors.has(id)];
    this.paused(id);
    if (ran && !watched) this.keep(id);
  }

  removed(id: string): void {
    this.monitors.get(id)?.stop();
    this.monitors.delete(id);
    this.runs.delete(id);
    this.unkept.delete(id);
    this.states.delete(id);
    this.records.delete(id);
  }

  private keep(id: string): void {
    const state = this.states.get(id);
    this.unkept.delete(id);
    if (state !== undefined) this.records.write(id, state, this.runs.get(id) ?? null);
  }

  private watch(container: ContainerInfo, check: HealthCheck, lastProbe?: Date): void {
    const { id } = container.spec;
    this.monitors.get(id)?.stop();
    const monitor = new HealthMonitor({
      check,
      startedAt: startOf(container),
      lastProbe,
      probe: (signal) => probe(this.context, id, check, signal),
      state: () => this.states.get(id)!,
      changed: (state) => this.changed(id, state),
    });
    this.monitors.set(id, monitor);
  }

  private changed(id: string, state: HealthState): void {
    const before = this.states.get(id);
    this.states.set(id, state);
    this.unkept.add(id);
    if (before?.status === state.status) return;
    this.keep(id);
    log.info({ container: id, health: state.status }, 'the health of a container has changed');
    try {
      this.context.publish(this.context.resolve(id), `health_status: ${state.status}`);
    } catch (error) {
      log.debug({ container: id, err: messageOf(error) }, 'a container was removed before its health was published');
    }
  }
}

const startOf = ({ startedAt }: ContainerInfo): Date => startedAt ?? new Date();

function checkOf(container: ContainerInfo): HealthCheck | null {
  const { Healthcheck, Shell } = recordOf(container).config;
  return healthCheck(Healthcheck, Shell);
}
