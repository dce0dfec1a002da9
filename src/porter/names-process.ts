/**
 * The names server, seen from the porter: a process in the gateway's network namespace. Beside the one that serves, a spare is kept that is
 * loaded and listens to nothing. Starting a process and loading its program takes most of a second on a busy machine, during which no
 * container could look up anything; the spare takes over at once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { unavailable } from '../common/errors.js';
import { HEARTBEAT_FD } from '../common/heartbeat.js';
import { logger } from '../common/log.js';
import { RestartPause } from '../common/restart-pause.js';
import type { NamesAnswer, NamesChange, RefusedLookups } from './names-table.js';
import type { WorkerWatch } from './worker-watch.js';

const log = logger('names');
/** The pause after one that ended soon after its start. */
const RESTART_MS = 50;
const MOST_RESTART_MS = 5000;
/** A spare is started so long after the server is ready: what else starts then matters more. */
const SPARE_MS = 2000;
/** The server's descriptor of its heartbeat file, the one after the channel's. */
const BEAT = 4;

/** Messages to the names server. */
export type NamesRequest =
  /** From now on it serves; until then it is a spare. */
  | { kind: 'serve' }
  | { kind: 'change'; request: number; change: NamesChange }
  /** Report `id` has been taken in. */
  | { kind: 'reported'; id: number };

/** Messages of the names server. */
export type NamesEvent =
  /** It listens, and knows no names yet. */
  | { kind: 'ready' }
  | { kind: 'done'; request: number }
  | { kind: 'report'; id: number; answer: NamesAnswer }
  | { kind: 'refused'; lookups: RefusedLookups };

/** Whom a {@link NamesProcess} tells. */
export interface NamesListener {
  /** It listens, for the first time or again, and knows no names yet. */
  ready(): void;
  report(id: number, answer: NamesAnswer): void;
  refused(lookups: RefusedLookups): void;
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

/** Times in ms, of which tests have shorter ones. */
const TIMES = { restart: RESTART_MS, spare: SPARE_MS };

export class NamesProcess {
  /** The one that serves, or is to serve as soon as it is loaded. */
  private child: ChildProcess | null = null;
  private spare: ChildProcess | null = null;
  private ready = false;
  private closing = false;
  private began = 0;
  private restart: NodeJS.Timeout | undefined;
  private spareTimer: NodeJS.Timeout | undefined;
  private readonly pause: RestartPause;
  private last = 0;
  private readonly waiting = new Map<number, Waiting>();
  private watching: { stop(): void } | undefined;

  /** @param command starts a server, in its network namespace and with its rights */
  constructor(
    private readonly command: string[],
    private readonly listener: NamesListener,
    private readonly watch: WorkerWatch | null = null,
    private readonly times = TIMES,
  ) {
    this.pause = new RestartPause(times.restart, MOST_RESTART_MS);
  }

  /** Starts it, and sees to it that one serves until {@link stop}. */
  start(): void {
    const child = this.spare ?? this.spawn();
    this.spare = null;
    this.child = child;
    this.began = performance.now();
    this.watching =
      child.pid === undefined
        ? undefined
        : this.watch?.watch(child.pid, (why) => {
            log.error({ pid: child.pid }, `the names server hangs and is ended: ${why}`);
            child.kill('SIGKILL');
          });
    // It reads that as soon as it is loaded.
    child.send({ kind: 'serve' } satisfies NamesRequest, () => undefined);
  }

  private spawn(): ChildProcess {
    const [program = '', ...args] = this.command;
    const { watch } = this;
    const child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...(watch === null ? [] : [watch.descriptor])],
      env: { ...process.env, ...(watch === null ? {} : { [HEARTBEAT_FD]: String(BEAT) }) },
    });
    child.once('exit', (code, signal) => this.gone(child, { code, signal }));
    // A process that could not be started does not exit.
    child.on('error', (error) => {
      if (child.pid === undefined) this.gone(child, { err: error });
    });
    child.on('message', (message) => this.heard(child, message as NamesEvent));
    return child;
  }

  private heard(child: ChildProcess, message: NamesEvent): void {
    if (child !== this.child) return;
    switch (message.kind) {
      case 'ready':
        this.ready = true;
        this.listener.ready();
        this.keepSpare();
        break;
      case 'done':
        this.waiting.get(message.request)?.resolve();
        this.waiting.delete(message.request);
        break;
      case 'report':
        this.listener.report(message.id, message.answer);
        break;
      case 'refused':
        this.listener.refused(message.lookups);
        break;
    }
  }

  /** One that dies is replaced as late as one that has just been started, so that a spare that cannot live costs next to nothing. */
  private keepSpare(): void {
    clearTimeout(this.spareTimer);
    this.spareTimer = setTimeout(() => {
      if (this.ready && !this.closing) this.spare ??= this.spawn();
    }, this.times.spare);
    this.spareTimer.unref();
  }

  private gone(child: ChildProcess, why: object): void {
    if (child === this.spare) {
      this.spare = null;
      this.keepSpare();
    }
    if (child !== this.child) return;
    this.watching?.stop();
    this.child = null;
    this.ready = false;
    for (const { reject } of this.waiting.values()) reject(unavailable('the names server ended'));
    this.waiting.clear();
    if (this.closing) return;
    log.error(why, 'the names server ended and another takes over');
    const pause = this.pause.after(performance.now() - this.began);
    if (pause === 0) this.start();
    else this.restart = setTimeout(() => this.start(), pause);
  }

  /** Resolves when the server answers accordingly. @throws unavailable while there is none: it is told everything once it is ready */
  change(change: NamesChange): Promise<void> {
    const { child } = this;
    if (child === null || !this.ready) return Promise.reject(unavailable('the names server is not ready'));
    const request = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(request, { resolve, reject });
      // If it cannot be sent, the process has ended or is about to.
      child.send({ kind: 'change', request, change } satisfies NamesRequest, () => undefined);
    });
  }

  reported(id: number): void {
    if (this.ready) this.child?.send({ kind: 'reported', id } satisfies NamesRequest, () => undefined);
  }

  /** Ends it. */
  stop(): void {
    this.closing = true;
    clearTimeout(this.restart);
    clearTimeout(this.spareTimer);
    this.child?.kill();
    this.spare?.kill();
  }
}
