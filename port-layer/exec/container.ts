/** A container as the port layer keeps it in memory: everything here can be read back from the VM. */
import { EventEmitter, once } from 'node:events';
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import { ContainerChannel } from '../interaction/container-channel.js';
import type { NetworkEndpoint } from '../network/types.js';
import type { ProcessList, ResourceUsage } from '../observe/types.js';
import type { ContainerSpec } from './container-spec.js';
import type { RunStatus } from './run-status.js';
import { checkTransition } from './state.js';
import type { ContainerInfo, ContainerState, ExitStatus } from './types.js';
import type { VmQuestion } from './vm-question.js';

interface Events {
  /** The process has ended; its VM is on its way down. */
  ending: [];
  /** A run has ended, or a start has failed. */
  exited: [ExitStatus];
  /** The kernel has killed a process of it for want of memory. */
  oom: [];
  /** See {@link ContainerChannel}. */
  broken: [how: string];
  /** Once. */
  removed: [];
  /** The VM is seen powered on or off. */
  power: [on: boolean];
  /** The VM is seen suspended, or running again. */
  suspended: [yes: boolean];
  /** It was paused, or goes on. */
  paused: [yes: boolean];
}

/** One container. */
export class Container extends EventEmitter<Events> {
  state: ContainerState = 'created';
  startedAt: Date | null = null;
  finishedAt: Date | null = null;
  /** Of the run before this one. */
  lastFinishedAt: Date | null = null;
  exitCode = 0;
  error = '';
  oomKilled = false;
  pid = 0;
  endpoints: NetworkEndpoint[] = [];
  /** MAC addresses of its VM's network cards, in their order; null: not read yet. */
  macs: string[] | null = null;
  channel: ContainerChannel | null = null;
  /** As the inventory told last. */
  changeVersion: string | null = null;
  /** As the inventory told last. */
  poweredOn = false;
  /** What the guest had said when its VM was powered off before the start was through; null: it was not. */
  endedWhileStarting: RunStatus | null = null;
  /** What the guest said of the end of its process; its VM may still be on. */
  reportedExit: { exitCode: number; oomKilled: boolean; at: Date } | null = null;
  /** The start that is under way. */
  starting: Promise<void> | null = null;
  /** Ends the start that is under way. */
  abortStart: ((reason: Error) => void) | null = null;
  /** It ends to be started again: it is not removed, even if it is to be removed when it exits. */
  kept = false;
  /** The removal that is under way. */
  removal: Promise<void> | null = null;
  /** Its VM is suspended, as the inventory told last. */
  suspended = false;
  /** What its VM asks, and stands still until it is answered. */
  question: VmQuestion | null = null;
  /** It stands still: its VM is suspended, or its processes are frozen for as long as somebody looks at its files. */
  paused = false;
  /** Its processes were frozen before its VM was suspended: the VM may be woken without them. */
  frozen = false;
  /** Its VM is, or is about to be, woken without its processes: that it runs does not mean that the container goes on. */
  held = false;
  /** Those who look at its files and need its VM awake. */
  visitors = 0;
  /** What was seen in the guest before this endpoint had its VM suspended. */
  lastSeen: { processes: ProcessList; usage: ResourceUsage } | null = null;
  private queue: Promise<unknown> = Promise.resolve();
  private closing: Promise<unknown> = Promise.resolve();

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

  /** Resolves when no start is under way, however it ended. */
  async settled(): Promise<void> {
    await this.starting?.catch(() => undefined);
  }

  /** The channel, made when there is none: one that is not started yet gets its own, so that its first byte is not missed. */
  channelOn(path: string): ContainerChannel {
    if (this.channel !== null) return this.channel;
    const channel = new ContainerChannel(path);
    channel.on('exited', (session, { code, oomKilled }) => {
      if (session !== 0 || this.channel !== channel || !this.running) return;
      this.reportedExit = { exitCode: code, oomKilled, at: new Date() };
      this.emit('ending');
    });
    channel.on('oom', (news) => {
      if (this.channel !== channel) return;
      this.oomKilled = true;
      if (news) this.emit('oom');
    });
    channel.on('broken', (how) => {
      if (this.channel === channel) this.emit('broken', how);
    });
    this.channel = channel;
    return channel;
  }

  /** Lets go of the channel: what the VM has sent is still passed on, unless `now`. */
  closeChannel(now = false): void {
    const { channel } = this;
    this.channel = null;
    if (channel !== null) this.closing = Promise.all([this.closing, channel.close(now)]);
  }

  /** Resolves when former channels are gone: only then may a new one listen on the same path. */
  async channelClosed(): Promise<void> {
    await this.closing;
  }

  /** Resolves when the run has ended, or the time is over. */
  async ended(timeoutMs: number): Promise<void> {
    if (this.running) await once(this, 'exited', { signal: AbortSignal.timeout(timeoutMs) }).catch(() => undefined);
  }

  /** True when the VM is seen in that power state within the time. */
  powerBecomes(on: boolean, timeoutMs: number): Promise<boolean> {
    if (this.poweredOn === on) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (seen: boolean): void => {
        clearTimeout(timer);
        this.off('power', onPower);
        resolve(seen);
      };
      const onPower = (now: boolean): void => {
        if (now === on) finish(true);
      };
      const timer = setTimeout(() => finish(false), timeoutMs);
      this.on('power', onPower);
    });
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
      lastFinishedAt: this.lastFinishedAt,
      exitCode: this.exitCode,
      error: this.error,
      oomKilled: this.oomKilled,
      paused: this.paused,
      pid: this.pid,
      endpoints: this.endpoints,
      vm: { moid: this.vm.value, uuid: this.uuid },
    };
  }
}
