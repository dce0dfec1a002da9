/** Starting, finding and stopping the embedded host's process. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { InstancePaths } from '../common/paths.js';
import type { Login } from './target.js';
import { processTicks, waitWhileMoving } from './wait-moving.js';

const hostdFile = z.object({
  url: z.string(),
  thumbprint: z.string(),
  pid: z.number(),
  /** In words, with the reason. */
  acceleration: z.string().optional(),
});

/** A hostd that runs. */
export type RunningHostd = Login & { pid: number; acceleration?: string | undefined };
const credentialsFile = z.object({ user: z.string(), password: z.string() });

/** A hostd that is to end and does nothing for so long is ended. */
const STOP_QUIET_MS = 15_000;

/** True while a process of that id runs hostd on that state directory. */
function runsHostd(pid: number, stateDir: string): boolean {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return args.includes(stateDir) && args.some((arg) => arg.includes('hostd'));
  } catch {
    return false;
  }
}

/** Value of an option of the running hostd, as its command line has it; null when it was not given, or nothing runs. */
export function hostdOption(paths: InstancePaths, option: string): string | null {
  const running = runningHostd(paths);
  if (running === null) return null;
  const args = readFileSync(`/proc/${running.pid}/cmdline`, 'utf8').split('\0');
  const index = args.indexOf(option);
  return index < 0 ? null : (args[index + 1] ?? null);
}

/** How to log in to the embedded host, or null when it does not run. */
export function runningHostd(paths: InstancePaths): RunningHostd | null {
  if (!existsSync(paths.hostdFile) || !existsSync(paths.credentialsFile)) return null;
  const hostd = hostdFile.parse(JSON.parse(readFileSync(paths.hostdFile, 'utf8')));
  if (!runsHostd(hostd.pid, paths.stateDir)) return null;
  const credentials = credentialsFile.parse(JSON.parse(readFileSync(paths.credentialsFile, 'utf8')));
  return { ...hostd, ...credentials };
}

/**
 * Starts hostd detached and waits until it answers, as long as it moves.
 * @param listen `host:port`
 * @param options further ones of hostd
 * @param progress told what it is doing
 * @throws unavailable, timeout with the end of its log when it does not come up
 */
export async function startHostdProcess(
  paths: InstancePaths,
  listen: string,
  options: string[] = [],
  progress: (detail: string) => void = () => undefined,
): Promise<RunningHostd> {
  mkdirSync(paths.stateDir, { recursive: true, mode: 0o711 });
  const logFile = join(paths.stateDir, 'hostd.log');
  const logFrom = existsSync(logFile) ? statSync(logFile).size : 0;
  const log = openSync(logFile, 'a', 0o600);
  // The compiled program, also when this is run from its source (by a test).
  const main = fileURLToPath(
    new URL(
      import.meta.url.includes('/dist/src/cli/') ? '../hostd/main.js' : '../../dist/src/hostd/main.js',
      import.meta.url,
    ),
  );
  const child = spawn(process.execPath, [main, '--state-dir', paths.stateDir, '--listen', listen, ...options], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
  });
  child.unref();
  let ended = false;
  child.on('exit', () => {
    ended = true;
  });
  child.on('error', () => {
    ended = true;
  });
  return waitWhileMoving(
    {
      what: 'the embedded host',
      logFile,
      logFrom,
      ready: async () => {
        const running = runningHostd(paths);
        return running?.pid === child.pid ? running : null;
      },
      ticks: () => (ended || child.pid === undefined ? null : (processTicks(child.pid) ?? 0)),
    },
    progress,
  );
}

/** Stops hostd; VMs go on running. */
export async function stopHostdProcess(paths: InstancePaths): Promise<boolean> {
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
