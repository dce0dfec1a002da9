/** Waiting for an endpoint of this machine's embedded host, whose process can be seen. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ListenConfig } from '../../port-layer/config.js';
import type { InstancePaths } from '../common/paths.js';
import type { ManagedObjectReference } from '../vim25/types.generated.js';
import { ping } from './docker-probe.js';
import { processTicks, waitWhileMoving } from './wait-moving.js';

/** hostd starts an endpoint that died again, after 1 and 2 s: this many ends are no accident. */
const DEATHS = 3;
const pidFile = z.object({ pid: z.number() });

/**
 * Waits until its Docker API answers, as long as its process does something.
 * @param name of the virtual container host
 * @throws unavailable when it died again and again, timeout when it does nothing; with the end of its log
 */
export function waitForEndpoint(
  paths: InstancePaths,
  name: string,
  endpoint: ManagedObjectReference,
  listen: ListenConfig,
  progress: (detail: string) => void,
): Promise<true> {
  const file = join(paths.runDir, 'endpoint', `${endpoint.value}.pid`);
  return waitWhileMoving<true>(
    {
      what: `the endpoint of "${name}"`,
      logFile: join(paths.datastoreDir, name, 'endpoint.log'),
      ready: () =>
        ping(listen).then(
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
