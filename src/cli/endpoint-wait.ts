/** Waiting for an endpoint of this machine's embedded host, whose process can be seen. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ListenConfig, VchConfig } from '../../port-layer/config.js';
import type { InstancePaths } from '../common/paths.js';
import type { ManagedObjectReference } from '../vim25/index.js';
import { ping } from './docker-probe.js';
import { processTicks, waitWhileMoving } from './wait-moving.js';

/** hostd restarts a dead endpoint after 1 s and after 2 s. One that dies this often will not come up. */
const DEATHS = 3;
const pidFile = z.object({ pid: z.number() });

/** The Docker API's unix socket, on the machine that runs the virtual container host's machines. */
export function dockerSocket(config: VchConfig): string {
  return join(config.channelDir, 'docker.sock');
}

/**
 * Waits until its Docker API answers at all its addresses, as long as its process does something.
 * @throws unavailable when it keeps dying, timeout when it does nothing; both with the end of its log
 */
export function waitForEndpoint(
  paths: InstancePaths,
  config: VchConfig,
  endpoint: ManagedObjectReference,
  progress: (detail: string) => void,
): Promise<true> {
  const { name, listen } = config;
  const file = join(paths.runDir, 'endpoint', `${endpoint.value}.pid`);
  return waitWhileMoving<true>(
    {
      what: `the endpoint of "${name}"`,
      logFile: join(paths.datastoreDir, name, 'endpoint.log'),
      ready: () =>
        Promise.all([{ socketPath: dockerSocket(config) }, ...listen.filter(isOpen)].map((place) => ping(place))).then(
          () => true as const,
          () => null,
        ),
      ticks: () => {
        try {
          return processTicks(pidFile.parse(JSON.parse(readFileSync(file, 'utf8'))).pid);
        } catch {
          return null;
        }
      },
      deaths: DEATHS,
    },
    progress,
  );
}

/** An API that requires client certificates answers only its own clients. */
function isOpen({ tls }: ListenConfig): boolean {
  return tls?.clientCa === undefined;
}
