/** A powered-on endpoint VM: its process, watched and started again when it dies or hangs. */
import { spawn } from 'node:child_process';
import { open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { internal, unsupported } from '../../common/errors.js';
import { HEARTBEAT_FD } from '../../common/heartbeat.js';
import { logger } from '../../common/log.js';
import { writeWhole } from '../../common/write-whole.js';
import {
  ended,
  identify,
  isRunning,
  type ProcessIdentity,
  signal,
  signalGroup,
  startedAt,
  usage,
} from '../process-id.js';
import type { RunningVm, VmDefinition, VmExit, VmHooks } from '../runtime.js';
import { watchOver } from '../watchdog.js';

const log = logger('endpoint-vm');
const STOP_MS = 8000;
const KILL_MS = 2000;
const WATCH_MS = 200;
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 30_000;
/** A process that ran this long begins with the shortest back-off again. */
const STABLE_MS = 60_000;

/** Where and how an endpoint VM runs. */
export interface EndpointPlace {
  /** For its pid file and its keys; only root may look into it. */
  directory: string;
  program: string;
  /** Path of its network namespace. */
  netns: string;
  /** A process of which nothing is heard for so long, in ms, hangs. */
  hangMs: number;
  /** Called once, after its process has ended for good. */
  cleanUp(): Promise<void>;
}

/** The powered-on VM. Its process is the leader of a process group of its own. */
export class EndpointVm implements RunningVm {
  startedAt = new Date();
  private identity: ProcessIdentity | null = null;
  private watching: NodeJS.Timeout | null = null;
  private watchdog: { stop(): void } | null = null;
  private restarting: NodeJS.Timeout | null = null;
  /** A restart under way. */
  private starting: Promise<void> = Promise.resolve();
  private stopped: Promise<void> | null = null;
  private released = false;
  private backoff = FIRST_BACKOFF_MS;
  private readonly pidFile: string;
  private readonly keysFile: string;
  /** Written to by the process as long as its event loop turns. */
  private readonly beatFile: string;

  constructor(
    private readonly vm: VmDefinition,
    private readonly hooks: VmHooks,
    private readonly place: EndpointPlace,
  ) {
    this.pidFile = join(place.directory, `${vm.moid}.pid`);
    this.keysFile = join(place.directory, `${vm.moid}.guestinfo.json`);
    this.beatFile = join(place.directory, `${vm.moid}.beat`);
  }

  get pid(): number {
    return this.identity?.pid ?? 0;
  }

  /** Starts the process. @throws internal */
  async start(): Promise<void> {
    const keys = [...this.vm.extraConfig].filter(([key]) => key.startsWith('guestinfo.'));
    await writeFile(this.keysFile, JSON.stringify(Object.fromEntries(keys)), { mode: 0o600 });
    const output = await open(join(this.vm.directory, 'endpoint.log'), 'a', 0o600);
    const beat = await open(this.beatFile, 'w', 0o600);
    try {
      const child = spawn(process.execPath, [this.place.program], {
        detached: true,
        cwd: '/',
        stdio: ['ignore', output.fd, output.fd, beat.fd],
        env: {
          ...process.env,
          CAISSON_GUESTINFO: this.keysFile,
          CAISSON_VM_UUID: this.vm.uuid,
          CAISSON_NETNS: this.place.netns,
          [HEARTBEAT_FD]: '3',
        },
      });
      const pid = await new Promise<number>((resolve, reject) => {
        child.once('spawn', () => resolve(child.pid!));
        child.once('error', (error) => reject(internal(`cannot start the endpoint: ${error.message}`, error)));
      });
      child.unref();
      const identity = identify(pid);
      if (identity === null) throw internal('the endpoint ended at once');
      await writeWhole(this.pidFile, JSON.stringify(identity));
      this.watch(identity);
    } finally {
      await output.close();
      await beat.close();
    }
  }

  /** Watches its process. */
  watch(identity: ProcessIdentity): void {
    this.identity = identity;
    this.startedAt = startedAt(identity);
    if (this.released) return;
    this.watching = setInterval(() => {
      if (!isRunning(identity)) this.died(identity);
    }, WATCH_MS);
    this.watching.unref();
    const hangs = (why: string): void => {
      log.error({ vm: this.vm.name, pid: identity.pid }, `the endpoint hangs and is ended: ${why}`);
      signalGroup(identity, 'SIGKILL');
    };
    this.watchdog = watchOver(identity, this.beatFile, hangs, this.place.hangMs);
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

  async usage(): Promise<{ residentBytes: number; cpuSeconds: number }> {
    return usage(this.pid);
  }

  release(): void {
    this.released = true;
    this.stopTimers();
  }

  /** Ends what a process that died has left running. */
  killLeftovers(identity: ProcessIdentity): void {
    signalGroup(identity, 'SIGKILL');
  }

  private stopTimers(): void {
    if (this.watching !== null) clearInterval(this.watching);
    if (this.restarting !== null) clearTimeout(this.restarting);
    this.watchdog?.stop();
  }

  /** Ends the process; a hard one overtakes one that is under way. */
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
    if (this.identity !== null) {
      signal(this.identity, 'SIGTERM');
      await ended(this.identity, STOP_MS);
      signalGroup(this.identity, 'SIGKILL');
      await ended(this.identity, KILL_MS);
    }
    await rm(this.pidFile, { force: true });
    await rm(this.keysFile, { force: true });
    await rm(this.beatFile, { force: true });
    await this.place.cleanUp();
    this.hooks.exited(exit);
  }

  private died(identity: ProcessIdentity): void {
    this.stopTimers();
    if (this.stopped !== null || this.released) return;
    this.killLeftovers(identity);
    if (Date.now() - this.startedAt.getTime() > STABLE_MS) this.backoff = FIRST_BACKOFF_MS;
    log.warn({ vm: this.vm.name, retryMs: this.backoff }, 'the endpoint ended unexpectedly and is restarted');
    this.restart();
  }

  private restart(): void {
    this.restarting = setTimeout(() => {
      this.starting = this.start().catch((error: unknown) => {
        log.error({ err: error, vm: this.vm.name }, 'restarting the endpoint failed');
        if (this.stopped === null && !this.released) this.restart();
      });
    }, this.backoff);
    this.backoff = Math.min(this.backoff * 2, MAX_BACKOFF_MS);
  }
}
