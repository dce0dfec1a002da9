/** The health of all containers: probes those that run and have a check, by execs, and tells when their health changes. */
import type { ContainerInfo, InteractionService, OutputChunk } from '../../../port-layer/types.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { within } from '../../../src/common/within.js';
import { dockerConfig } from '../container-view.js';
import { commandLine, execProcess } from '../exec-process.js';
import { goDuration } from '../human.js';
import { type HealthCheck, healthCheck } from './health-check.js';
import { HealthMonitor, type ProbeOutcome } from './health-monitor.js';
import { type HealthState, startingHealth, unwatchedHealth } from './health-state.js';
import { LimitedOutput } from './limited-output.js';

const log = logger('docker');
const SIGKILL = 9;

/** What it does with containers. */
export interface HealthContext {
  interaction: InteractionService;
  /** Publishes an event. */
  publish(container: ContainerInfo, action: string, attributes?: Record<string, string>): void;
  /** The container as it is now. @throws notFound */
  resolve(id: string): ContainerInfo;
}

/** One per engine. */
export class HealthService {
  private readonly states = new Map<string, HealthState>();
  private readonly monitors = new Map<string, HealthMonitor>();

  constructor(private readonly context: HealthContext) {}

  /** null: it has no check, or never ran. */
  state(id: string): HealthState | null {
    return this.states.get(id) ?? null;
  }

  close(): void {
    for (const monitor of this.monitors.values()) monitor.stop();
    this.monitors.clear();
  }

  /** A run has begun, or one is found under way. */
  started(container: ContainerInfo): void {
    const check = checkOf(container);
    if (check === null) return;
    const { id } = container.spec;
    this.states.set(id, startingHealth(this.state(id)));
    this.watch(container, check);
  }

  /** Goes on with one that was paused. */
  resumed(container: ContainerInfo): void {
    const check = checkOf(container);
    if (check !== null && this.states.has(container.spec.id)) this.watch(container, check);
  }

  /** It does not run any more, or is paused: it is not probed. */
  stopped(id: string): void {
    const monitor = this.monitors.get(id);
    const state = this.states.get(id);
    if (monitor === undefined || state === undefined) return;
    monitor.stop();
    this.monitors.delete(id);
    this.states.set(id, unwatchedHealth(state));
  }

  removed(id: string): void {
    this.stopped(id);
    this.states.delete(id);
  }

  private watch(container: ContainerInfo, check: HealthCheck): void {
    const { id } = container.spec;
    this.monitors.get(id)?.stop();
    const monitor = new HealthMonitor({
      check,
      startedAt: container.startedAt ?? new Date(),
      probe: (signal) => this.probe(id, check, signal),
      state: () => this.states.get(id)!,
      changed: (state) => this.changed(id, state),
    });
    this.monitors.set(id, monitor);
  }

  private changed(id: string, state: HealthState): void {
    const before = this.states.get(id);
    this.states.set(id, state);
    if (before?.status === state.status) return;
    log.info({ container: id, health: state.status }, 'the health of a container has changed');
    try {
      this.context.publish(this.context.resolve(id), `health_status: ${state.status}`);
    } catch (error) {
      log.debug({ container: id, err: messageOf(error) }, 'a container is gone before its health is told');
    }
  }

  /** One exec. Its time counts from when its process runs. */
  private async probe(id: string, check: HealthCheck, signal: AbortSignal): Promise<ProbeOutcome> {
    const { interaction, publish, resolve } = this.context;
    const container = resolve(id);
    const process = execProcess(container, { args: check.args });
    const exec = await interaction.execCreate(id, process, { stdin: false, stdout: true, stderr: true });
    publish(container, `exec_create: ${commandLine(process)}`, { execID: exec.id });
    publish(container, `exec_start: ${commandLine(process)}`, { execID: exec.id });
    const streams = await interaction.execStart(exec.id, { detach: false });
    const over = interaction.execWait(exec.id).then((exitCode) => {
      publish(container, 'exec_die', { execID: exec.id, exitCode: String(exitCode) });
      return exitCode;
    });
    const output = new LimitedOutput();
    const read = (async (): Promise<void> => {
      for await (const { data } of (streams?.output ?? []) as AsyncIterable<OutputChunk>) output.add(data);
    })();
    // It may go on after the end of the probe's first process.
    read.catch(() => undefined);
    const kill = (): void => void interaction.execKill(exec.id, SIGKILL).catch(() => undefined);
    signal.addEventListener('abort', kill, { once: true });
    if (signal.aborted) kill();
    try {
      const exitCode = await within(over, check.timeoutMs, () => null);
      if (exitCode !== null) {
        await within(read, OUTPUT_MS, () => undefined);
        return { exitCode, output: output.toString() };
      }
      kill();
      await over;
      const text = output.toString();
      const exceeded = `Health check exceeded timeout (${goDuration(check.timeoutMs)})`;
      return { exitCode: -1, output: text === '' ? exceeded : `${exceeded}: ${text}` };
    } finally {
      signal.removeEventListener('abort', kill);
      streams?.close();
    }
  }
}

/** Output that comes so long after the end of a probe is not waited for. */
const OUTPUT_MS = 1000;

function checkOf(container: ContainerInfo): HealthCheck | null {
  const { Healthcheck, Shell } = dockerConfig(container);
  return healthCheck(Healthcheck, Shell);
}
