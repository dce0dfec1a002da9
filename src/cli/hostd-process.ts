/** Starting, finding and stopping the embedded host's process. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { timeout, unavailable } from '../common/errors.js';
import type { InstancePaths } from '../common/paths.js';
import type { Login } from './target.js';

const hostdFile = z.object({ url: z.string(), thumbprint: z.string(), pid: z.number() });
const credentialsFile = z.object({ user: z.string(), password: z.string() });

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
export function runningHostd(paths: InstancePaths): (Login & { pid: number }) | null {
  if (!existsSync(paths.hostdFile) || !existsSync(paths.credentialsFile)) return null;
  const hostd = hostdFile.parse(JSON.parse(readFileSync(paths.hostdFile, 'utf8')));
  if (!runsHostd(hostd.pid, paths.stateDir)) return null;
  const credentials = credentialsFile.parse(JSON.parse(readFileSync(paths.credentialsFile, 'utf8')));
  return { ...hostd, ...credentials };
}

/**
 * Starts hostd detached and waits until it answers.
 * @param listen `host:port`
 * @param options further ones of hostd
 * @throws unavailable with the end of its log when it does not come up
 */
export async function startHostdProcess(
  paths: InstancePaths,
  listen: string,
  options: string[] = [],
): Promise<Login & { pid: number }> {
  mkdirSync(paths.stateDir, { recursive: true, mode: 0o711 });
  const logFile = join(paths.stateDir, 'hostd.log');
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
  const deadline = Date.now() + 120_000;
  for (;;) {
    const running = runningHostd(paths);
    if (running !== null && running.pid === child.pid) return running;
    if (ended) throw unavailable(`The embedded host did not start. The end of ${logFile}:\n${tail(logFile)}`);
    if (Date.now() > deadline)
      throw timeout(`The embedded host is not up after 120 s. The end of ${logFile}:\n${tail(logFile)}`);
    await sleep(30);
  }
}

/** Stops hostd; VMs go on running. */
export async function stopHostdProcess(paths: InstancePaths): Promise<boolean> {
  const running = runningHostd(paths);
  if (running === null) return false;
  process.kill(running.pid, 'SIGTERM');
  for (let waited = 0; waited < 15_000 && runsHostd(running.pid, paths.stateDir); waited += 50) await sleep(50);
  if (runsHostd(running.pid, paths.stateDir)) process.kill(running.pid, 'SIGKILL');
  return true;
}

function tail(path: string): string {
  return readFileSync(path, 'utf8').trim().split('\n').slice(-10).join('\n');
}
