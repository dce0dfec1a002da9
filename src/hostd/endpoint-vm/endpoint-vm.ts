/**
 * A powered-on endpoint VM: its process, watched and started again, or replaced by one that stands by, when it dies or hangs. A spare gets its
 * turn only after everything of the one before has ended.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { internal, unsupported } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { setPrecedence } from '../../common/precedence.js';
import {
  ended,
  identify,
  isRunning,
  type ProcessIdentity,
  processesOf,
  processesOfGroup,
  signal,
  signalGroup,
  startedAt,
  usage,
} from '../../common/process-id.js';
import { RestartPause } from '../../common/restart-pause.js';
import { Spares } from '../../common/spares.js';
import { watchOver } from '../../common/watchdog.js';
import { writeWhole } from '../../common/write-whole.js';
import type { RunningVm, RuntimeDevice, RuntimeNic, VmDefinition, VmExit, VmHooks } from '../runtime.js';
import { type EndpointPair, endpointKey, startEndpoint } from './endpoint-processes.js';
import { type EndpointPlace, EndpointStart } from './endpoint-start.js';

const log = logger('endpoint-vm');
const STOP_MS = 8000;
const KILL_MS = 2000;
const WATCH_MS = 200;
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 30_000;
/** A hostd that has just been started has more urgent things to do than a spare. */
const SPARE_AFTER_ADOPTION_MS = 1000;

/** The content of its pid file. `porter` is the part that is root; an earlier version's endpoint has none and is root itself. */
export type EndpointIdentity = ProcessIdentity & { porter?: ProcessIdentity };

/** The powered-on VM. Its process is the leader of a process group of its own. */
export class EndpointVm implements RunningVm {
  startedAt = new Date();
  private identity: EndpointIdentity | null = null;
  private watching: NodeJS.Timeout | null = null;
  private watchdogs: { stop(): void }[] = [];
  private restarting: NodeJS.Timeout | null = null;
  /** A restart under way. */
  private starting: Promise<void> = Promise.resolve();
  private stopped: Promise<void> | null = null;
  private released = false;
  private readonly pause = new RestartPause(FIRST_BACKOFF_MS, MAX_BACKOFF_MS);
  private readonly pidFile: string;
  private readonly setting: EndpointStart;
  /** Names the processes that stand by, for a hostd that comes after one that was killed. */
  private readonly spareFile: string;
  private readonly spares: Spares<EndpointPair> | null;
  /** When the endpoint began to work, by a clock that does not jump. */
  private since = 0;

  constructor(
    private readonly vm: VmDefinition,
    private readonly hooks: VmHooks,
    private readonly place: EndpointPlace,
  ) {
    this.pidFile = join(place.directory, `${vm.moid}.pid`);
    this.spareFile = join(place.directory, `${vm.moid}.spare`);
    this.setting = new EndpointStart(vm, place);
    const failed = (why: string): void => log.warn({ vm: vm.name, why }, 'no second endpoint stands by');
    this.spares = place.standby ? new Spares(() => this.startSpare(), failed) : null;
  }

  get pid(): number {
    return this.identity?.pid ?? 0;
  }

  /** Starts the process. @throws internal */
  async start(): Promise<void> {
    const { vm, place } = this;
    const user = await place.users.of(vm.directory);
    await this.setting.provide(user);
    this.since = performance.now();
    await this.begun(await this.setting.with(user, (command) => startEndpoint(command, false)));
  }

  /** Watches one that an earlier hostd has started. */
  async adopted(identity: EndpointIdentity): Promise<void> {
    this.since = performance.now() - (Date.now() - startedAt(identity).getTime());
    this.watch(identity);
    // The hostd before this one may have ended while it was being started.
    this.precede(identity, false);
    await this.endLeftSpare();
    this.spares?.provide(SPARE_AFTER_ADOPTION_MS);
  }

  /** These are the VM's processes from now on. */
  private async begun(pair: EndpointPair): Promise<void> {
    const { endpoint, porter } = pair.processes;
    const identity = { ...endpoint, porter };
    await writeWhole(this.pidFile, JSON.stringify(identity));
    this.watch(identity);
    this.startedAt = new Date();
    this.precede(identity, true);
    pair.onEnd(() => this.look());
    pair.onUp(() => {
      this.precede(identity, false);
      this.spares?.provide();
    });
  }

  /** What the porter has started goes with it, and so does hostd, which an endpoint that is being started asks for everything. */
  private precede(identity: EndpointIdentity, ahead: boolean): void {
    const { porter } = identity;
    setPrecedence(process.pid, ahead);
    const all = [identity, ...(porter === undefined ? [] : ahead ? [porter] : processesOfGroup(porter.pid))];
    for (const one of all) if (isRunning(one)) setPrecedence(one.pid, ahead);
  }

  private async startSpare(): Promise<EndpointPair> {
    const user = await this.place.users.kept(this.vm.directory);
    if (user === null) throw internal('the endpoint has no user yet');
    const pair = await this.setting.with(user, (command) => startEndpoint(command, true));
    await writeWhole(this.spareFile, JSON.stringify(pair.processes));
    return pair;
  }

  /** A spare ends with the hostd that has started it, unless it was stopped. */
  async endLeftSpare(): Promise<void> {
    const text = await readFile(this.spareFile, 'utf8').catch(() => null);
    if (text === null) return;
    for (const one of Object.values(JSON.parse(text) as EndpointPair['processes'])) signal(one, 'SIGKILL');
    await rm(this.spareFile, { force: true });
  }

  private async startAgain(before: EndpointIdentity): Promise<void> {
    await this.spares?.settle();
    await this.killLeftovers(before);
    if (!(await this.takeOver())) await this.start();
  }

  /** Gives a spare its turn. @returns false if there is none that would do the same as a new endpoint */
  private async takeOver(): Promise<boolean> {
    const user = await this.place.users.kept(this.vm.directory);
    if (this.spares?.present === null || this.spares === null || user === null) return false;
    await this.setting.provide(user);
    const pair = await this.spares.take(await this.setting.with(user, async (command) => endpointKey(command)));
    if (pair === null) return false;
    await rm(this.spareFile, { force: true });
    this.since = performance.now();
    await this.begun(pair);
    pair.go();
    return true;
  }

  /** Watches its process. */
  watch(identity: EndpointIdentity): void {
    this.identity = identity;
    this.startedAt = startedAt(identity);
    if (this.released) return;
    this.watching = setInterval(() => this.look(), WATCH_MS);
    this.watching.unref();
    this.watchOver('endpoint', identity);
    // The endpoint ends with it, and both are started again.
    if (identity.porter !== undefined) this.watchOver('porter', identity.porter);
  }

  /** Its end is noticed at once if this hostd has started it, otherwise by looking now and then. */
  private look(): void {
    const { identity } = this;
    if (this.watching === null || identity === null) return;
    // Neither works without the other.
    if (!isRunning(identity) || (identity.porter !== undefined && !isRunning(identity.porter))) this.died(identity);
  }

  private watchOver(part: 'endpoint' | 'porter', process: ProcessIdentity): void {
    const hangs = (why: string): void => {
      const what = part === 'endpoint' ? 'the endpoint' : 'the porter of the endpoint';
      log.error({ vm: this.vm.name, pid: process.pid }, `${what} hangs and is ended: ${why}`);
      signalGroup(process, 'SIGKILL');
    };
    this.watchdogs.push(watchOver(process, this.setting.beats[part], hangs, this.place.hangMs));
  }

  async powerOff(): Promise<void> {
    await this.stop('SIGKILL', { reason: 'powerOff' });
  }

  async reset(): Promise<void> {
    await this.stop('SIGKILL', { reason: 'guestReset' });
  }

  async shutdownGuest(): Promise<void> {
    void this.stop('SIGTERM', { reason: 'guestPowerOff' });
  }

  async rebootGuest(): Promise<void> {
    void this.stop('SIGTERM', { reason: 'guestReset' });
  }

  async suspend(): Promise<void> {
    throw unsupported('an endpoint VM cannot be suspended');
  }

  async stalled(): Promise<boolean> {
    return false;
  }

  async suspended(): Promise<boolean> {
    return false;
  }

  async resume(): Promise<void> {
    throw unsupported('an endpoint VM cannot be resumed');
  }

  switchDisk(): Promise<void> {
    return Promise.reject(unsupported('an endpoint has no disks'));
  }

  releaseDisk(): Promise<void> {
    return this.switchDisk();
  }

  relinkDisk(): Promise<void> {
    return this.switchDisk();
  }

  async plug(device: RuntimeDevice): Promise<void> {
    await this.place.plugCard(cardOf(device));
  }

  async unplug(device: RuntimeDevice): Promise<void> {
    await this.place.unplugCard(cardOf(device));
  }

  async usage(): Promise<{ residentBytes: number; cpuSeconds: number }> {
    return usage(this.pid);
  }

  release(): void {
    this.released = true;
    this.stopTimers();
    void this.spares?.close();
  }

  /** Ends what a dead process has left running, or what is to be replaced. Nobody else runs as its users, but who stands by. */
  async killLeftovers(identity: EndpointIdentity): Promise<void> {
    const { porter } = identity;
    // Of an earlier version's endpoint, which was root, only its process group is known.
    const left = porter === undefined ? this.groupOf(identity) : [porter];
    signalGroup(identity, 'SIGKILL');
    if (porter !== undefined) signalGroup(porter, 'SIGKILL');
    const user = porter === undefined ? null : await this.place.users.kept(this.vm.directory);
    const spare = this.spares?.present?.processes.endpoint.pid;
    if (user !== null)
      left.push(...processesOf(new Set([user.endpoint, user.worker])).filter(({ pid }) => pid !== spare));
    for (const one of left) signal(one, 'SIGKILL');
    await Promise.all([identity, ...left].map((one) => ended(one, KILL_MS)));
  }

  /** Unless its number was given to another process meanwhile. */
  private groupOf(leader: ProcessIdentity): ProcessIdentity[] {
    const now = identify(leader.pid);
    return now === null || now.startTime === leader.startTime ? processesOfGroup(leader.pid) : [];
  }

  private stopTimers(): void {
    if (this.watching !== null) clearInterval(this.watching);
    this.watching = null;
    if (this.restarting !== null) clearTimeout(this.restarting);
    for (const watchdog of this.watchdogs.splice(0)) watchdog.stop();
  }

  /** Ends the process. A hard end overtakes a soft one that is under way. */
  private stop(how: 'SIGTERM' | 'SIGKILL', exit: VmExit): Promise<void> {
    if (how === 'SIGKILL' && this.identity !== null) signalGroup(this.identity, 'SIGKILL');
    this.stopped ??= this.end(exit).catch((error: unknown) => {
      log.error({ err: error, vm: this.vm.name }, 'cleaning up after the endpoint failed');
      this.hooks.exited(exit);
    });
    return this.stopped;
  }

  private async end(exit: VmExit): Promise<void> {
    this.stopTimers();
    await this.starting;
    this.stopTimers();
    await this.spares?.close();
    if (this.identity !== null) {
      signal(this.identity, 'SIGTERM');
      await ended(this.identity, STOP_MS);
      await this.killLeftovers(this.identity);
      await ended(this.identity, KILL_MS);
    }
    await rm(this.pidFile, { force: true });
    await rm(this.spareFile, { force: true });
    await this.setting.remove();
    await this.place.cleanUp();
    this.hooks.exited(exit);
  }

  private died(identity: EndpointIdentity): void {
    this.stopTimers();
    if (this.stopped !== null || this.released) return;
    const pause = this.pause.after(performance.now() - this.since);
    log.warn({ vm: this.vm.name, retryMs: pause }, 'the endpoint ended unexpectedly and is restarted');
    this.restart(identity, pause);
  }

  private restart(before: EndpointIdentity, pause: number): void {
    this.restarting = setTimeout(() => {
      this.starting = this.startAgain(before).catch((error: unknown) => {
        log.error({ err: error, vm: this.vm.name }, 'restarting the endpoint failed');
        if (this.stopped === null && !this.released) this.restart(before, this.pause.after(0));
      });
    }, pause);
  }
}

/** @throws unsupported for a disk */
function cardOf(device: RuntimeDevice): RuntimeNic {
  if (device.kind !== 'nic') throw unsupported('an endpoint VM has no disks');
  return device.nic;
}
