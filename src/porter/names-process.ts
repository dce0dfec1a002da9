/** The names server, seen from the porter: a process in the gateway's network namespace that is started again whenever it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { unavailable } from '../common/errors.js';
import { HEARTBEAT_FD } from '../common/heartbeat.js';
import { logger } from '../common/log.js';
import { RestartPause } from '../common/restart-pause.js';
import type { NamesAnswer, NamesChange } from './names-table.js';
import type { WorkerWatch } from './worker-watch.js';

const log = logger('names');
/** The pause before one that ended soon after its start is started again. */
const RESTART_MS = 50;
const MOST_RESTART_MS = 5000;
/** The server's descriptor of its heartbeat file, the one after the channel's. */
const BEAT = 4;

/** Messages to the names server. */
export type NamesRequest =
  | { kind: 'change'; request: number; change: NamesChange }
  /** Report `id` has been taken in. */
  | { kind: 'reported'; id: number };

/** Messages of the names server. */
export type NamesEvent =
  /** It listens, and knows no names yet. */
  { kind: 'ready' } | { kind: 'done'; request: number } | { kind: 'report'; id: number; answer: NamesAnswer };

/** Whom a {@link NamesProcess} tells. */
export interface NamesListener {
  /** It listens, for the first time or again, and knows no names yet. */
  ready(): void;
  report(id: number, answer: NamesAnswer): void;
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

export class NamesProcess {
  private child: ChildProcess | null = null;
  private ready = false;
  private closing = false;
  private restart: NodeJS.Timeout | undefined;
  private readonly pause = new RestartPause(RESTART_MS, MOST_RESTART_MS);
  private last = 0;
  private readonly waiting = new Map<number, Waiting>();

  /** @param command starts the server, in its network namespace and with its rights */
  constructor(
    private readonly command: string[],
    private readonly listener: NamesListener,
    private readonly watch: WorkerWatch | null = null,
  ) {}

  /** Starts it, and sees to it that it runs until {@link stop}. */
  start(): void {
    const [program = '', ...args] = this.command;
    const { watch } = this;
    const began = performance.now();
    const child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...(watch === null ? [] : [watch.descriptor])],
      env: { ...process.env, ...(watch === null ? {} : { [HEARTBEAT_FD]: String(BEAT) }) },
    });
    this.child = child;
    const watching =
      child.pid === undefined
        ? undefined
        : watch?.watch(child.pid, (why) => {
            log.error({ pid: child.pid }, `the names server hangs and is ended: ${why}`);
            child.kill('SIGKILL');
          });
    const gone = (why: object): void => {
      watching?.stop();
      if (this.child === child) this.ended(why, performance.now() - began);
    };
    child.once('exit', (code, signal) => gone({ code, signal }));
    // A process that could not be started does not exit.
    child.on('error', (error) => {
      if (child.pid === undefined) gone({ err: error });
    });
    child.on('message', (message) => this.heard(message as NamesEvent));
  }

  private heard(message: NamesEvent): void {
    switch (message.kind) {
      case 'ready':
        this.ready = true;
        this.listener.ready();
        break;
      case 'done':
        this.waiting.get(message.request)?.resolve();
        this.waiting.delete(message.request);
        break;
      case 'report':
        this.listener.report(message.id, message.answer);
        break;
    }
  }

  private ended(why: object, ranMs: number): void {
    this.child = null;
    this.ready = false;
    for (const { reject } of this.waiting.values()) reject(unavailable('the names server ended'));
    this.waiting.clear();
    if (this.closing) return;
    log.error(why, 'the names server ended and is started again');
    this.restart = setTimeout(() => this.start(), this.pause.after(ranMs));
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
    this.child?.kill();
  }
}
