/** Starting, finding and stopping the embedded host's process, and the supervisor that keeps it running. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { InstancePaths } from '../common/paths.js';
import { ended, isRunning, type ProcessIdentity, signal } from '../common/process-id.js';
import { HANG_MS, sightOf } from '../common/watchdog.js';
import { supervisorBeat } from '../hostd/supervisor/supervisor.js';
import type { Login } from './target.js';
import { familyTicks, processTicks, waitWhileMoving } from './wait-moving.js';

const hostdFile = z.object({
  url: z.string(),
  thumbprint: z.string(),
  pid: z.number(),
  /** In words, with the reason. */
  acceleration: z.string().optional(),
});

/** A running hostd. */
export type RunningHostd = Login & { pid: number; acceleration?: string | undefined };
const credentialsFile = z.object({ user: z.string(), password: z.string() });

/** A hostd that was asked to end and does nothing for so long is killed. */
const STOP_QUIET_MS = 15_000;
const SUPERVISOR_STOP_MS = 5000;

/** True while a process of that id runs hostd on that state directory. */
function runsHostd(pid: number, stateDir: string): boolean {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return args.includes(stateDir) && args.some((arg) => arg.includes('hostd'));
  } catch {
    return false;
  }
}

/** The arguments of the running hostd, without Node's and the program's name; null if none runs. */
function hostdArguments(paths: InstancePaths): string[] | null {
  const pid = runningHostd(paths)?.pid ?? runningSupervisor(paths)?.pid;
  if (pid === undefined) return null;
  const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  return args.slice(args.findIndex((arg) => arg.endsWith('/main.js')) + 1);
}

/** Value of an option of the running hostd, as its command line has it; null when it was not given, or nothing runs. */
export function hostdOption(paths: InstancePaths, option: string): string | null {
  const args = hostdArguments(paths);
  if (args === null) return null;
  const index = args.indexOf(option);
  return index < 0 ? null : (args[index + 1] ?? null);
}

/** Whether the running hostd was given an option that takes no value. */
export function hostdHasOption(paths: InstancePaths, option: string): boolean {
  return hostdArguments(paths)?.includes(option) ?? false;
}

/** All values of an option of the running hostd that may be given several times. */
export function hostdOptionList(paths: InstancePaths, option: string): string[] {
  const args = hostdArguments(paths) ?? [];
  return args.flatMap((arg, at) => (arg === option ? (args[at + 1] ?? []) : []));
}

/** How to log in to the embedded host, or null when it does not run. */
export function runningHostd(paths: InstancePaths): RunningHostd | null {
  if (!existsSync(paths.hostdFile) || !existsSync(paths.credentialsFile)) return null;
  const hostd = hostdFile.parse(JSON.parse(readFileSync(paths.hostdFile, 'utf8')));
  if (!runsHostd(hostd.pid, paths.stateDir)) return null;
  const credentials = credentialsFile.parse(JSON.parse(readFileSync(paths.credentialsFile, 'utf8')));
  return { ...hostd, ...credentials };
}

/** The supervisor that keeps hostd running, or null. */
export function runningSupervisor(paths: InstancePaths): ProcessIdentity | null {
  try {
    const supervisor = JSON.parse(readFileSync(paths.supervisorFile, 'utf8')) as ProcessIdentity;
    return isRunning(supervisor) ? supervisor : null;
  } catch {
    return null;
  }
}

/** The compiled program, also when this is run from its source (by a test). */
function compiled(path: string): string {
  const dist = import.meta.url.includes('/dist/src/cli/') ? '../..' : '../../dist';
  return fileURLToPath(new URL(`${dist}/${path}`, import.meta.url));
}

/**
 * Starts a supervisor, detached. It starts hostd, or takes over the one that runs.
 * @returns its process, and whether it has ended
 */
function startSupervisor(paths: InstancePaths, args: string[]): { pid: number | undefined; ended(): boolean } {
  mkdirSync(paths.stateDir, { recursive: true, mode: 0o711 });
  const log = openSync(join(paths.stateDir, 'hostd.log'), 'a', 0o600);
  // It needs little memory; a small heap keeps it that way.
  const child = spawn(
    process.execPath,
    ['--max-old-space-size=16', '--max-semi-space-size=1', compiled('src/hostd/supervisor/main.js'), ...args],
    { detached: true, stdio: ['ignore', log, log], cwd: '/' },
  );
  closeSync(log);
  child.unref();
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  child.on('exit', end).on('error', end);
  return { pid: child.pid, ended: () => ended };
}

/** Kills a supervisor that hangs. hostd goes on and gets another one. */
export async function endHangingSupervisor(paths: InstancePaths): Promise<void> {
  const supervisor = runningSupervisor(paths);
  const sight = supervisor === null ? null : sightOf(supervisor.pid, supervisorBeat(paths));
  if (sight === null) return;
  const silent = sight.beat !== null && Math.abs(Date.now() - sight.beat) > HANG_MS;
  // After the clock was set it may be killed needlessly, which does no harm.
  if (silent || sight.state === 'T') await stopSupervisor(paths);
}

/** Makes sure that the running hostd has a supervisor. */
export function provideSupervisor(paths: InstancePaths): void {
  if (runningSupervisor(paths) !== null) return;
  const args = hostdArguments(paths);
  if (args !== null) startSupervisor(paths, args);
}

/**
 * Starts hostd under a supervisor, or waits for the one that a supervisor is starting, as long as it makes progress.
 * @param listen `host:port`
 * @param options further options of hostd
 * @param progress called with what it is doing
 * @throws unavailable, timeout with the end of its log when it does not come up
 */
export async function startHostdProcess(
  paths: InstancePaths,
  listen: string,
  options: string[] = [],
  progress: (detail: string) => void = () => undefined,
): Promise<RunningHostd> {
  const logFile = join(paths.stateDir, 'hostd.log');
  const logFrom = existsSync(logFile) ? statSync(logFile).size : 0;
  const supervisor =
    runningSupervisor(paths) === null
      ? startSupervisor(paths, ['--state-dir', paths.stateDir, '--listen', listen, ...options])
      : null;
  return waitWhileMoving(
    {
      what: 'the embedded host',
      logFile,
      logFrom,
      ready: async () => runningHostd(paths),
      ticks: () => {
        const pid =
          supervisor === null ? runningSupervisor(paths)?.pid : supervisor.ended() ? undefined : supervisor.pid;
        return pid === undefined ? null : familyTicks(pid);
      },
    },
    progress,
  );
}

/** Ends the supervisor; hostd goes on. */
export async function stopSupervisor(paths: InstancePaths): Promise<void> {
  const supervisor = runningSupervisor(paths);
  if (supervisor === null) return;
  signal(supervisor, 'SIGTERM');
  // It may be stopped (SIGSTOP), too.
  if (!(await ended(supervisor, SUPERVISOR_STOP_MS))) signal(supervisor, 'SIGKILL');
  rmSync(paths.supervisorFile, { force: true });
}

/** Stops hostd and its supervisor; VMs go on running. */
export async function stopHostdProcess(paths: InstancePaths): Promise<boolean> {
  await stopSupervisor(paths);
  const running = runningHostd(paths);
  if (running === null) return false;
  process.kill(running.pid, 'SIGTERM');
  const gone = (): boolean => !runsHostd(running.pid, paths.stateDir);
  await waitWhileMoving({
    what: 'the embedded host',
    logFile: join(paths.stateDir, 'hostd.log'),
    ready: async () => (gone() ? true : null),
    ticks: () => processTicks(running.pid) ?? 0,
    quietMs: STOP_QUIET_MS,
  }).catch(() => {
    if (!gone()) process.kill(running.pid, 'SIGKILL');
  });
  return true;
}
