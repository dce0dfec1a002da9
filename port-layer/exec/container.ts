/** A container as the port layer keeps it in memory: everything here can be read back from the VM. */
import { EventEmitter } from 'node:events';
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import type { ContainerInfo, ContainerSpec, ContainerState, ExitStatus, NetworkEndpoint } from '../types.js';
import { checkTransition } from './state.js';

/** What is kept with the VM of the current or last run (key `caisson.run`). */
export interface RunRecord {
  startedAt: string;
  endpoints: NetworkEndpoint[];
}

/** Emits `exited` at each end of a run and `removed` once. */
export class Container extends EventEmitter<{ exited: [ExitStatus]; removed: [] }> {
  state: ContainerState = 'created';
  startedAt: Date | null = null;
  finishedAt: Date | null = null;
  exitCode = 0;
  error = '';
  oomKilled = false;
  pid = 0;
  endpoints: NetworkEndpoint[] = [];
  mac: string | null = null;
  channel: ContainerChannel | null = null;
  changeVersion: string | null = null;
  poweredOn = false;
  /** Why the run that is being started ended at once, when the guest could say it. */
  failure: Error | null = null;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(
    public spec: ContainerSpec,
    readonly vm: ManagedObjectReference,
    readonly uuid: string,
  ) {
    super();
    this.setMaxListeners(0);
  }

  get id(): string {
    return this.spec.id;
  }

  get running(): boolean {
    return this.state === 'running' || this.state === 'stopping';
  }

  become(state: ContainerState): void {
    checkTransition(this.id, this.state, state);
    this.state = state;
  }

  /** Runs operations that change the container one after the other. */
  exclusive<T>(body: () => Promise<T>): Promise<T> {
    const run = this.queue.then(body);
    this.queue = run.catch(() => undefined);
    return run;
  }

  exitStatus(): ExitStatus {
    return { exitCode: this.exitCode, oomKilled: this.oomKilled, error: this.error };
  }

  info(): ContainerInfo {
    return {
      spec: this.spec,
      state: this.state,
      startedAt: this.startedAt,
      finishedAt: this.finishedAt,
      exitCode: this.exitCode,
      error: this.error,
      oomKilled: this.oomKilled,
      pid: this.pid,
      endpoints: this.endpoints,
      vm: { moid: this.vm.value, uuid: this.uuid },
    };
  }
}
