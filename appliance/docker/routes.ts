/** All routes of the Docker API. */
import type { Router } from 'express';
import { backupRoutes } from './backup/backup-routes.js';
import { attachRoutes } from './containers/attach-routes.js';
import { createRoutes } from './containers/create-routes.js';
import { fileRoutes } from './containers/file-routes.js';
import { inspectRoutes } from './containers/inspect-routes.js';
import { lifecycleRoutes } from './containers/lifecycle-routes.js';
import { logRoutes } from './containers/log-routes.js';
import { observeRoutes } from './containers/observe-routes.js';
import { renameRoutes } from './containers/rename-routes.js';
import { updateRoutes } from './containers/update-routes.js';
import type { Engine } from './engine.js';
import { eventRoutes } from './events/event-routes.js';
import { execRoutes } from './execs/exec-routes.js';
import { versionedRouter } from './http/routing.js';
import { archiveRoutes } from './images/archive-routes.js';
import { commitRoutes } from './images/commit-routes.js';
import { imageRoutes } from './images/image-routes.js';
import { registryRoutes } from './images/registry-routes.js';
import { networkRoutes } from './networks/network-routes.js';
import { usageRoutes } from './networks/usage-routes.js';
import { policyRoutes } from './policy/policy-routes.js';
import { pruneRoutes } from './prune/prune-routes.js';
import { diskUsageRoutes } from './system/disk-usage-routes.js';
import { notImplementedRoutes } from './system/not-implemented-routes.js';
import { refusedRoutes } from './system/refused-routes.js';
import { systemRoutes } from './system/system-routes.js';
import { volumeLifeRoutes } from './volumes/life-routes.js';
import { volumeRoutes } from './volumes/volume-routes.js';

/** All routes of the API. Each takes only what it needs of the engine: the interface beside it says what that is. */
export function dockerRouter(engine: Engine): Router {
  const router = versionedRouter();
  systemRoutes(router, engine);
  eventRoutes(router, engine.events);
  networkRoutes(router, engine);
  usageRoutes(router, engine);
  policyRoutes(router, engine);
  createRoutes(router, engine);
  inspectRoutes(router, engine);
  lifecycleRoutes(router, engine);
  renameRoutes(router, engine);
  attachRoutes(router, engine);
  execRoutes(router, engine.execs);
  logRoutes(router, engine);
  observeRoutes(router, engine);
  updateRoutes(router, engine);
  fileRoutes(router, engine);
  commitRoutes(router, engine);
  pruneRoutes(router, engine);
  volumeRoutes(router, engine.volumes);
  volumeLifeRoutes(router, engine);
  backupRoutes(router, engine);
  diskUsageRoutes(router, engine);
  // Routes with fixed names under /images/ must come before those that take any name.
  refusedRoutes(router);
  notImplementedRoutes(router);
  archiveRoutes(router, engine.images);
  registryRoutes(router, engine.images);
  imageRoutes(router, engine);
  return router;
}
