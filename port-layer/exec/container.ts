/** A container as the port layer keeps it in memory. All of it can be read back from its VM. */
import { EventEmitter } from 'node:events';
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import { errorRecord, PortLayerError } from '../errors.js';
import type { ContainerChannel } from '../interaction/container-channel.js';
import type { NetworkEndpoint } from '../network/types.js';
import {
  type ContainerEffect,
  type ContainerEvent,
  type ContainerFacts,
  type ContainerLife,
  hasRun,
  isStarting,
  type LastSeen,
  type Pause,
  type Resting,
  restOf,
  shownState,
  untouched,
} from './container-life.js';
import { nextContainer } from './container-next.js';
import type { ContainerSpec } from './container-spec.js';
import type { Machine, Occupant } from './machine.js';
import type { ContainerInfo, ContainerState, ExitStatus } from './types.js';

/** The number of a machine's first container on the channel. */
export const FIRST_SESSION = 0;

interface Events {
  /** It or its machine has changed. */
  change: [];
  /** A run has ended, or a start has failed. */
  exited: [ExitStatus];
  /** Emitted once. */
  removed: [];
  /** See {@link ContainerChannel}. */
  broken: [how: string];
}

/** One container. */
export class Container extends EventEmitter<Events> implements Occupant {
  private known: ContainerFacts;
  private queue: Promise<unknown> = Promise.resolve();

  /** @param carryOut does what an event calls for */
  constructor(
    public spec: ContainerSpec,
    readonly machine: Machine,
    rest: Resting = { kind: 'created', failure: null },
    private readonly carryOut: (container: Container, effect: ContainerEffect) => void = () => undefined,
  ) {
    super();
    this.setMaxListeners(0);
    this.known = untouched(rest);
    machine.take(FIRST_SESSION, this);
  }

  /** Applies an event. */
  dispatch(event: ContainerEvent): void {
    const before = this.known;
    const { facts, effects } = nextContainer(before, event);
    this.known = facts;
    for (const effect of effects) this.carryOut(this, effect);
    if (facts.ends !== before.ends) this.emit('exited', this.exitStatus());
    if (facts.life.kind === 'removed' && before.life.kind !== 'removed') this.emit('removed');
    if (facts !== before) this.changed();
  }

  /** Makes everybody who is waiting look again. */
  changed(): void {
    this.emit('change');
  }

  broken(how: string): void {
    this.emit('broken', how);
  }

  /** True as soon as `holds()` is; false if the time is up or the signal fires first. Checked now and after every change. */
  until(holds: () => boolean, { ms, signal }: { ms?: number; signal?: AbortSignal } = {}): Promise<boolean> {
    if (holds()) return Promise.resolve(true);
    if (signal?.aborted === true) return Promise.resolve(false);
    return new Promise((resolve) => {
      const finish = (did: boolean): void => {
        clearTimeout(timer);
        this.off('change', look);
        signal?.removeEventListener('abort', onAbort);
        resolve(did);
      };
      const look = (): void => {
        if (holds()) finish(true);
      };
      const onAbort = (): void => finish(false);
      const timer = ms === undefined ? undefined : setTimeout(() => finish(false), ms);
      this.on('change', look);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Runs operations that change the container one after the other. */
  exclusive<T>(body: () => Promise<T>): Promise<T> {
    const run = this.queue.then(body);
    this.queue = run.catch(() => undefined);
    return run;
  }

  // --- what it is ----------------------------------------------------------------------------------------------------

  get id(): string {
    return this.spec.id;
  }

  get vm(): ManagedObjectReference {
    return this.machine.ref;
  }

  get facts(): ContainerFacts {
    return this.known;
  }

  get life(): ContainerLife {
    return this.known.life;
  }

  get state(): ContainerState {
    return shownState(this.life);
  }

  /** From the moment its process runs until its machine is off. */
  get running(): boolean {
    return hasRun(this.life);
  }

  get starting(): boolean {
    return isStarting(this.life);
  }

  /** Its process has ended, and its machine is on its way down. */
  get ending(): boolean {
    return this.life.kind === 'ending';
  }

  /** It is being removed, was removed, or could not be removed. */
  get leaving(): boolean {
    return this.facts.marked || ['removing', 'dead', 'removed'].includes(this.life.kind);
  }

  /** Its machine may be on. */
  get poweredOn(): boolean {
    return this.machine.on;
  }

  get channel(): ContainerChannel | null {
    return this.machine.channel;
  }

  get endpoints(): NetworkEndpoint[] {
    const { life } = this;
    if (hasRun(life)) return life.run.endpoints;
    return life.kind === 'powering' ? life.endpoints : [];
  }

  get pause(): Pause {
    return hasRun(this.life) ? this.life.run.pause : { kind: 'no' };
  }

  get paused(): boolean {
    return this.pause.kind === 'paused';
  }

  /** The guest has frozen its processes: its machine can be woken without them. */
  get frozen(): boolean {
    const { pause } = this;
    return pause.kind === 'frozen' || (pause.kind === 'paused' && pause.frozen);
  }

  /** What was seen in the guest before it was paused. */
  get lastSeen(): LastSeen | null {
    return this.pause.kind === 'paused' ? this.pause.seen : null;
  }

  /** Resolves when no start is in progress, however it ended. */
  async settled(): Promise<void> {
    await this.until(() => !this.starting);
  }

  exitStatus(): ExitStatus {
    const { exitCode, oomKilled, error } = this.info();
    return { exitCode, oomKilled, error };
  }

  info(): ContainerInfo {
    const { life, spec, machine } = this;
    const all = {
      spec,
      state: this.state,
      paused: this.paused,
      endpoints: this.endpoints,
      vm: { moid: machine.ref.value, uuid: machine.uuid },
    };
    if (hasRun(life)) {
      const { startedAt, last, oomKilled, pid } = life.run;
      const lastFinishedAt = last?.end.finishedAt ?? null;
      const { standstill: reason } = this.facts;
      const error = reason === '' ? null : errorRecord(new PortLayerError('container.standsStill', { reason }));
      return { ...all, startedAt, finishedAt: null, lastFinishedAt, exitCode: 0, error, oomKilled, pid };
    }
    const past = pastOf(restOf(life));
    if (life.kind === 'dead') return { ...all, ...past, error: life.error };
    return this.starting
      ? { ...all, ...past, oomKilled: life.kind === 'powering' && life.oomKilled }
      : { ...all, ...past };
  }
}

type Past = Pick<
  ContainerInfo,
  'startedAt' | 'finishedAt' | 'lastFinishedAt' | 'exitCode' | 'error' | 'oomKilled' | 'pid'
>;

function pastOf(rest: Resting): Past {
  const never = { lastFinishedAt: null, pid: 0 };
  if (rest.kind === 'exited') return { ...never, startedAt: rest.run.startedAt, ...rest.run.end };
  const { exitCode, error } = rest.failure ?? { exitCode: 0, error: null };
  return { ...never, startedAt: null, finishedAt: null, exitCode, error, oomKilled: false };
}
