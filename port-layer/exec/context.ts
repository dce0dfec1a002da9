/** What the parts of the exec component share. */
import type { VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import type { Networks } from '../network/networks.js';
import type { VolumeUse } from '../storage/volume-use.js';
import type { Volumes } from '../storage/volumes.js';
import type { ContainerCache } from './container-cache.js';
import type { SharedVolumes } from './shared-volumes.js';
import type { StartGate } from './start-gate.js';

/** The port layer below and beside the exec component. */
export interface ExecContext {
  readonly client: VimClient;
  readonly config: VchConfig;
  readonly cache: ContainerCache;
  readonly networks: Networks;
  readonly volumes: Pick<Volumes, 'recover'>;
  readonly volumeUse: VolumeUse;
  readonly sharing: SharedVolumes;
  readonly gate: StartGate;
}
