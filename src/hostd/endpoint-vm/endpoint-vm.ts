/** A powered-on endpoint VM: its process, watched and started again when it dies or hangs. */
import { chown, open, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unsupported } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { FILES_SOCKET, OWN_SPOOL } from '../../common/paths.js';
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
import { watchOver } from '../../common/watchdog.js';
import { writeWhole } from '../../common/write-whole.js';
import type { RunningVm, RuntimeDevice, RuntimeNic, VmDefinition, VmExit, VmHooks } from '../runtime.js';
import { beatFiles, type OfEach, openBeats, removeBeats } from './endpoint-beats.js';
import { endpointDirectories, endpointGrants, provideDirectories, removeDirectories } from './endpoint-files.js';
import { type EndpointCommand, startEndpoint } from './endpoint-processes.js';
import { openedDirectory, type ProgramPlace } from './program-place.js';
import type { VchUsers } from './vch-users.js';

const log = logger('endpoint-vm');
const STOP_MS = 8000;
const KILL_MS = 2000;
const WATCH_MS = 200;
/** In the channel directory: of the Docker API. */
const DOCKER_SOCKET = 'docker.sock';
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 30_000;

/** Where and how an endpoint VM runs. */
export interface EndpointPlace {
  /** For its pid file and its keys; only root may write to it. */
  directory: string;
  program: string;
  /** Where all users can read it. */
  readable: ProgramPlace;
  users: VchUsers;
  /** Path of its network namespace. */
  netns: string;
  /** Where hostd serves files. */
  filesSocket: string;
  /** A process that is silent for so long, in ms, hangs. */
  hangMs: number;
  /** Adds a card to its namespace. @throws notFound for an unknown port group, internal; nothing is left of it then */
  plugCard(nic: RuntimeNic): Promise<void>;
  /** Removes a card, which may be gone already. @throws internal if it stays */
  unplugCard(nic: RuntimeNic): Promise<void>;
  /** Called once, after its process has ended for good. */
  cleanUp(): Promise<void>;
}

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
  private readonly keysFile: string;
  /** Where its spool directory is mounted, if it has to be. */
  private readonly spoolThere: string;
  /** Written to by its processes as long as their event loops turn. */
  private readonly beats: OfEach<string>;

  constructor(
    private readonly vm: VmDefinition,
    private readonly hooks: VmHooks,
    private readonly place: EndpointPlace,
  ) {
    this.pidFile = join(place.directory, `${vm.moid}.pid`);
    this.keysFile = join(place.directory, `${vm.moid}.guestinfo.json`);
    this.spoolThere = join(place.directory, `${vm.moid}.spool`);
    this.beats = beatFiles(place.directory, vm.moid);
  }

  get pid(): number {
    return this.identity?.pid ?? 0;
  }

  /** Starts the process. @throws internal */
  async start(): Promise<void> {
    const { vm, place } = this;
    const directories = endpointDirectories(vm);
    const user = await place.users.of(vm.directory);
    await provideDirectories(directories, vm, place.users, user.endpoint);
    const spool = await openedDirectory(directories.spool, this.spoolThere);
    const keys = [...vm.extraConfig].filter(([key]) => key.startsWith('guestinfo.'));
    await rm(this.keysFile, { force: true });
    await writeFile(this.keysFile, JSON.stringify(Object.fromEntries(keys)), { mode: 0o600 });
    await chown(this.keysFile, user.endpoint, user.endpoint);
    const output = await open(join(vm.directory, 'endpoint.log'), 'a', 0o600);
    let beats: Awaited<ReturnType<typeof openBeats>> | null = null;
    try {
      beats = await openBeats(this.beats);
      const command: EndpointCommand = {
        place: place.readable,
        program: place.program,
        mounts: spool.mounts,
        user,
        netns: place.netns,
        allowed: {
          socket: join(directories.channel, DOCKER_SOCKET),
          socketDraft: join(place.directory, `${vm.moid}.docker`),
          ...endpointGrants(vm),
        },
        output: output.fd,
        beats: beats.descriptors,
        watch: { files: this.beats, hangMs: place.hangMs },
        env: {
          CAISSON_GUESTINFO: this.keysFile,
          CAISSON_VM_UUID: vm.uuid,
          [OWN_SPOOL]: spool.path,
          [FILES_SOCKET]: place.filesSocket,
        },
      };
      const { endpoint, porter } = await startEndpoint(command, () => this.look());
      const identity = { ...endpoint, porter };
      await writeWhole(this.pidFile, JSON.stringify(identity));
      this.watch(identity);
    } finally {
      await output.close();
      await beats?.close();
    }
  }

  private async startAgain(before: EndpointIdentity): Promise<void> {
    await this.killLeftovers(before);
    await this.start();
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
    if (this.watching !== null && this.identity !== null && !isRunning(this.identity)) this.died(this.identity);
  }

  private watchOver(part: 'endpoint' | 'porter', process: ProcessIdentity): void {
    const hangs = (why: string): void => {
      const what = part === 'endpoint' ? 'the endpoint' : 'the porter of the endpoint';
      log.error({ vm: this.vm.name, pid: process.pid }, `${what} hangs and is ended: ${why}`);
      signalGroup(process, 'SIGKILL');
    };
    this.watchdogs.push(watchOver(process, this.beats[part], hangs, this.place.hangMs));
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
  }

  /** Ends what a dead process has left running, or what is to be replaced. Nobody else runs as its users. */
  async killLeftovers(identity: EndpointIdentity): Promise<void> {
    const { porter } = identity;
    // Of an earlier version's endpoint, which was root, only its process group is known.
    const left = porter === undefined ? this.groupOf(identity) : [porter];
    signalGroup(identity, 'SIGKILL');
    if (porter !== undefined) signalGroup(porter, 'SIGKILL');
    const user = porter === undefined ? null : await this.place.users.kept(this.vm.directory);
    if (user !== null) left.push(...processesOf(new Set([user.endpoint, user.worker])));
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
    if (this.identity !== null) {
      signal(this.identity, 'SIGTERM');
      await ended(this.identity, STOP_MS);
      await this.killLeftovers(this.identity);
      await ended(this.identity, KILL_MS);
    }
    await rm(this.pidFile, { force: true });
    await rm(this.keysFile, { force: true });
    await removeDirectories(this.vm);
    await removeBeats(this.beats);
    await rmdir(this.spoolThere).catch(() => undefined);
    await this.place.cleanUp();
    this.hooks.exited(exit);
  }

  private died(identity: EndpointIdentity): void {
    this.stopTimers();
    if (this.stopped !== null || this.released) return;
    const pause = this.pause.after(Date.now() - this.startedAt.getTime());
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
