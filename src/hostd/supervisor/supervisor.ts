/**
 * Keeps hostd running: starts it again on the same port when it ends or hangs, with a growing pause if it keeps ending soon. VMs and
 * endpoints keep running meanwhile, and the next hostd finds them. It works without systemd, which containers do not have.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { InstancePaths } from '../../common/paths.js';
import { identify, isRunning, type ProcessIdentity, signal } from '../../common/process-id.js';
import { RestartPause } from '../../common/restart-pause.js';
import { HANG_MS, watchOver } from '../../common/watchdog.js';

const LOOK_MS = 500;
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 60_000;

/** What it works on. */
export interface Supervised {
  paths: InstancePaths;
  /** A Node program, and its arguments. */
  program: string;
  args: string[];
  log(level: 'info' | 'warn' | 'error', message: string): void;
  /** Called when hostd never came up, so that there is nothing to keep running. */
  gaveUp(code: number): void;
  hangMs?: number;
  firstBackoffMs?: number;
}

/** hostd's heartbeat file. */
export function beatFile(paths: InstancePaths): string {
  return `${paths.runDir}/hostd.beat`;
}

/** The supervisor's own heartbeat file, for `npm start`, since nobody else watches over it. */
export function supervisorBeat(paths: InstancePaths): string {
  return `${paths.runDir}/supervisor.beat`;
}

export class Supervisor {
  private hostd: ProcessIdentity | null = null;
  /** hostd's process, if it was started here. */
  private child: ChildProcess | null = null;
  private since = 0;
  /** What hostd listens on, once it has come up. */
  private listen: string | null = null;
  private watching: { stop(): void } | null = null;
  private timer: NodeJS.Timeout | null = null;
  private readonly pause: RestartPause;
  private stopped = false;

  constructor(private readonly what: Supervised) {
    this.pause = new RestartPause(what.firstBackoffMs ?? FIRST_BACKOFF_MS, MAX_BACKOFF_MS);
  }

  /** The process that it watches over. */
  get pid(): number | null {
    return this.hostd?.pid ?? null;
  }

  /** Takes over a running hostd, or starts one. */
  start(): void {
    const pid = this.readFile();
    const running = pid === null || !this.isHostd(pid) ? null : identify(pid);
    if (running === null) this.spawn();
    else {
      this.watch(running);
      this.readFile();
    }
  }

  /** Stops watching; hostd keeps running. */
  stop(): void {
    this.stopped = true;
    this.rest();
  }

  private rest(): void {
    this.watching?.stop();
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private spawn(): void {
    const { program, log } = this.what;
    const child = spawn(process.execPath, [program, ...this.args()], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
      cwd: '/',
    });
    this.child = child;
    child.once('error', (error) => {
      log('error', `hostd cannot be started: ${error.message}`);
      if (!this.stopped && child.pid === undefined) this.ended(1);
    });
    // Only this event says how hostd ended. It also comes when there is nothing left to watch.
    child.once('exit', (code) => {
      if (!this.stopped && this.child === child) this.ended(code ?? 1);
    });
    const identity = child.pid === undefined ? null : identify(child.pid);
    if (identity !== null) this.watch(identity);
  }

  /** The arguments, with the port that the first hostd got, because endpoints know that one. */
  private args(): string[] {
    const { args } = this.what;
    const at = args.indexOf('--listen');
    if (this.listen === null || at < 0) return args;
    return args.map((arg, index) => (index === at + 1 ? this.listen! : arg));
  }

  private watch(hostd: ProcessIdentity): void {
    this.rest();
    this.hostd = hostd;
    this.since = performance.now();
    this.watching = watchOver(
      hostd,
      beatFile(this.what.paths),
      (why) => {
        this.what.log('error', `hostd (process ${hostd.pid}) hangs and is ended: ${why}`);
        signal(hostd, 'SIGKILL');
      },
      this.what.hangMs ?? HANG_MS,
    );
    this.timer = setInterval(() => {
      if (this.listen === null) this.readFile();
      if (this.child === null && !isRunning(hostd)) this.ended(1);
    }, LOOK_MS);
  }

  /** The process named in hostd's file. If it is the one being watched, hostd has come up. */
  private readFile(): number | null {
    try {
      const { pid, url } = JSON.parse(readFileSync(this.what.paths.hostdFile, 'utf8')) as { pid: number; url: string };
      const { hostname, port } = new URL(url);
      if (pid === this.hostd?.pid) this.listen = `${hostname.replace(/^\[|\]$/g, '')}:${port}`;
      return pid;
    } catch {
      return null;
    }
  }

  /** True for a process that runs hostd on this state directory. */
  private isHostd(pid: number): boolean {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return args.some((arg) => arg.endsWith('/hostd/main.js')) && args.includes(this.what.paths.stateDir);
    } catch {
      return false;
    }
  }

  private ended(code: number): void {
    this.rest();
    if (this.listen === null) this.readFile();
    [this.hostd, this.child] = [null, null];
    const { log, gaveUp } = this.what;
    if (this.listen === null) {
      gaveUp(code);
      return;
    }
    const pause = this.pause.after(performance.now() - this.since);
    log('warn', `hostd has ended and is started again ${pause === 0 ? 'at once' : `in ${pause / 1000} s`}`);
    this.timer = setTimeout(() => this.spawn(), pause);
  }
}
