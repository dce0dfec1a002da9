/**
 * Keeps hostd running: starts it again on the same port when it ends or hangs, with a growing pause if it keeps ending soon, or gives its
 * turn to a second one that stands by. VMs and endpoints keep running meanwhile, and the next hostd finds them. It works without systemd, which containers do not have.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { InstancePaths } from '../../common/paths.js';
import { setPrecedence } from '../../common/precedence.js';
import { identify, isRunning, type ProcessIdentity, signal } from '../../common/process-id.js';
import { RestartPause } from '../../common/restart-pause.js';
import { type Spare, Spares } from '../../common/spares.js';
import { STANDBY, standbyValue, TURN } from '../../common/standby.js';
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
  /** Whether a second hostd stands by. */
  standby?: boolean;
}

/** Descriptor of the socket on which a hostd that stands by is told that it is its turn. */
const LINE = 3;

/** A hostd that stands by. */
interface SpareHostd extends Spare {
  child: ChildProcess;
  go(): void;
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
  /** hostd has come up, as far as is known. */
  private isUp = false;
  private readonly spares: Spares<SpareHostd> | null;

  constructor(private readonly what: Supervised) {
    this.pause = new RestartPause(what.firstBackoffMs ?? FIRST_BACKOFF_MS, MAX_BACKOFF_MS);
    const failed = (why: string): void => what.log('warn', `no second hostd stands by: ${why}`);
    this.spares = what.standby ? new Spares(async () => this.startSpare(), failed) : null;
  }

  /** The process that stands by. */
  get sparePid(): number | null {
    return this.spares?.present?.child.pid ?? null;
  }

  /** The process that it watches over. */
  get pid(): number | null {
    return this.hostd?.pid ?? null;
  }

  /** Takes over a running hostd, or starts one. */
  start(): void {
    const pid = this.readFile();
    const running = pid === null || !this.isHostd(pid) ? null : identify(pid);
    if (running === null) this.follow(this.run(null));
    else {
      this.watch(running);
      this.readFile();
    }
  }

  /** Stops watching; hostd keeps running. */
  stop(): void {
    this.stopped = true;
    this.rest();
    void this.spares?.close();
  }

  private rest(): void {
    this.watching?.stop();
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private async spawn(): Promise<void> {
    const spare = this.spares === null ? null : await this.spares.take(this.key());
    // It is watched from now on, so that the next one knows its own file.
    if (spare === null) this.follow(this.run(null));
    else {
      this.follow(spare.child);
      spare.go();
    }
  }

  /** @param line descriptor on which it is told of its turn; null: it is its turn now */
  private run(line: number | null): ChildProcess {
    const { program, log } = this.what;
    const child = spawn(process.execPath, [program, ...this.args()], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', ...(line === null ? [] : ['pipe' as const])],
      cwd: '/',
      ...(line === null ? {} : { env: { ...process.env, [STANDBY]: standbyValue(line, true) } }),
    });
    child.once('error', (error) => log('error', `hostd cannot be started: ${error.message}`));
    return child;
  }

  private follow(child: ChildProcess): void {
    if (this.stopped) {
      child.kill('SIGKILL');
      return;
    }
    this.child = child;
    // Only this event says how hostd ended. It also comes when there is nothing left to watch.
    const ended = (code: number | null): void => {
      if (!this.stopped && this.child === child) this.ended(code ?? 1);
    };
    if (child.exitCode !== null || child.signalCode !== null) setImmediate(() => ended(child.exitCode));
    else child.once('exit', ended);
    child.once('error', () => {
      if (child.pid === undefined) ended(1);
    });
    const identity = child.pid === undefined ? null : identify(child.pid);
    if (identity === null) return;
    // Until it is up, which it notices first.
    setPrecedence(identity.pid, true);
    this.watch(identity);
  }

  /** What a hostd that is started now would be started with, and the file that it would load. */
  private key(): string {
    const { program } = this.what;
    const loaded = statSync(program, { throwIfNoEntry: false })?.mtimeMs;
    return JSON.stringify([program, loaded, this.args()]);
  }

  private startSpare(): SpareHostd {
    const key = this.key();
    const child = this.run(LINE);
    const line = child.stdio[LINE] as Socket;
    // It may end before it has read that it is its turn.
    line.on('error', () => undefined);
    line.resume();
    const over = new Promise<void>((resolve) => {
      child.once('exit', () => resolve()).once('error', () => resolve());
    });
    return {
      key,
      child,
      go: () => void line.write(TURN),
      onEnd: (listener) => void over.then(listener),
      end: () => {
        child.kill('SIGKILL');
        return over;
      },
    };
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
      if (!this.isUp) this.readFile();
      if (this.child === null && !isRunning(hostd)) this.ended(1);
    }, LOOK_MS);
  }

  /** The process named in hostd's file. If it is the one being watched, hostd has come up. */
  private readFile(): number | null {
    try {
      const { pid, url } = JSON.parse(readFileSync(this.what.paths.hostdFile, 'utf8')) as { pid: number; url: string };
      const { hostname, port } = new URL(url);
      if (pid === this.hostd?.pid) {
        this.isUp = true;
        this.spares?.provide();
        this.listen = `${hostname.replace(/^\[|\]$/g, '')}:${port}`;
      }
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
    [this.hostd, this.child, this.isUp] = [null, null, false];
    const { log, gaveUp } = this.what;
    if (this.listen === null) {
      gaveUp(code);
      return;
    }
    const pause = this.pause.after(performance.now() - this.since);
    log('warn', `hostd has ended and is started again ${pause === 0 ? 'at once' : `in ${pause / 1000} s`}`);
    this.timer = setTimeout(() => void this.spawn(), pause);
  }
}
