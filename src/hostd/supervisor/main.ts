/**
 * The supervisor as a program; it takes hostd's arguments. `npm start` leaves it running, `npm stop` ends it. It is small on purpose: it
 * loads none of hostd's modules and only checks twice a second whether all is well.
 */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { startHeartbeat } from '../../common/heartbeat.js';
import { closeInherited } from '../../common/inherited-descriptors.js';
import { ENGINE_LOG, keepBounded } from '../../common/log-bound.js';
import { DEFAULT_STATE_DIR, instancePaths } from '../../common/paths.js';
import { identify, isRunning, type ProcessIdentity } from '../../common/process-id.js';
import { programPath } from '../../common/programs.js';
import { Supervisor, supervisorBeat } from './supervisor.js';

closeInherited();
process.umask(0o022);
const args = process.argv.slice(2);
const option = (name: string): string | undefined => args[args.indexOf(name) + 1 || args.length];
const paths = instancePaths(resolve(option('--state-dir') ?? DEFAULT_STATE_DIR));

function log(level: 'info' | 'warn' | 'error', message: string): void {
  const line = { level, time: new Date().toISOString(), pid: process.pid, component: 'supervisor', msg: message };
  try {
    writeSync(1, `${JSON.stringify(line)}\n`);
  } catch {
    // If there is no space for its log, it carries on without.
  }
}

/** Makes this the only supervisor of the instance. Returns false if there is one already. */
function claim(): boolean {
  mkdirSync(dirname(paths.supervisorFile), { recursive: true, mode: 0o711 });
  for (;;) {
    // Written first and then linked into place, so that the file is never seen half written.
    const mine = `${paths.supervisorFile}.${process.pid}`;
    try {
      writeFileSync(mine, JSON.stringify(identify(process.pid)), { mode: 0o600 });
      linkSync(mine, paths.supervisorFile);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      rmSync(mine, { force: true });
    }
    try {
      if (isRunning(JSON.parse(readFileSync(paths.supervisorFile, 'utf8')) as ProcessIdentity)) return false;
    } catch {
      // It is gone already.
    }
    rmSync(paths.supervisorFile, { force: true });
  }
}

function leave(code: number): void {
  rmSync(paths.supervisorFile, { force: true });
  process.exit(code);
}

if (!claim()) {
  log('warn', 'there is a supervisor already');
  process.exit(0);
}
const hangSeconds = Number(option('--hang-after') ?? '');
const supervisor = new Supervisor({
  paths,
  // Asked for anew each time: there may have been a build.
  get program() {
    return programPath('src/hostd/main.js');
  },
  args,
  log,
  gaveUp: leave,
  standby: args.includes('--standby'),
  ...(hangSeconds > 0 ? { hangMs: hangSeconds * 1000 } : {}),
});
const stop = (): void => {
  supervisor.stop();
  leave(0);
};
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
startHeartbeat(supervisorBeat(paths));
supervisor.start();
keepBounded(join(paths.stateDir, 'hostd.log'), ENGINE_LOG, (error) =>
  log('warn', `hostd.log cannot be kept small: ${String(error)}`),
);
