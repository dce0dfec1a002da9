/** Waiting for an endpoint of this machine's embedded host, whose process can be seen. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ListenConfig, VchConfig } from '../../port-layer/config.js';
import type { InstancePaths } from '../common/paths.js';
import type { ManagedObjectReference } from '../vim25/index.js';
import { ping } from './docker-probe.js';
import { processTicks, waitWhileMoving } from './wait-moving.js';

/** hostd starts an endpoint that died again, after 1 and 2 s: this many ends are no accident. */
const DEATHS = 3;
const pidFile = z.object({ pid: z.number() });

/** The Docker API's unix socket, on the machine that runs the virtual container host's machines. */
export function dockerSocket(config: VchConfig): string {
  return join(config.channelDir, 'docker.sock');
}

/**
 * Waits until its Docker API answers wherever it is to listen, as long as its process does something.
 * @throws unavailable when it died again and again, timeout when it does nothing; with the end of its log
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

/** Who wants a client's certificate answers none but its clients. */
function isOpen({ tls }: ListenConfig): boolean {
  return tls?.clientCa === undefined;
}
