/** Logging in to the embedded host, which may just have died or may hang. */
import { setTimeout as sleep } from 'node:timers/promises';
import { unavailable } from '../common/errors.js';
import type { InstancePaths } from '../common/paths.js';
import { VimClient } from '../vim25/index.js';
import { runningHostd, runningSupervisor } from './hostd-process.js';

/** Its supervisor restarts a host that died or hangs within this time, if it can. */
const RECOVERY_MS = 90_000;

/** Logs in to hostd, and waits for it if its supervisor is restarting it. @throws unavailable */
export async function connectHostd(paths: InstancePaths): Promise<VimClient> {
  for (const deadline = Date.now() + RECOVERY_MS; ; await sleep(500)) {
    const hostd = runningHostd(paths);
    try {
      if (hostd === null) throw unavailable('it does not run');
      return await VimClient.connect(hostd);
    } catch (error) {
      if (runningSupervisor(paths) === null || Date.now() > deadline) throw error;
    }
  }
}
