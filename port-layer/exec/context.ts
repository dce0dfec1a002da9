/** What the parts of the exec component share. */
import type { VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import type { Networks } from '../network/networks.js';
import type { VolumeUse } from '../storage/volume-use.js';
import type { Volumes } from '../storage/volumes.js';
import type { Container } from './container.js';
import type { ContainerCache } from './container-cache.js';
import type { ContainerEvent } from './types.js';

/** The port layer below and beside the exec component. */
export interface ExecContext {
  readonly client: VimClient;
  readonly config: VchConfig;
  readonly cache: ContainerCache;
  readonly networks: Networks;
  readonly volumes: Pick<Volumes, 'recover'>;
  readonly volumeUse: VolumeUse;
  readonly emit: (event: ContainerEvent) => void;
  /** Takes a container on the list; what it tells becomes events. */
  readonly track: (container: Container) => void;
  /** Removes a container whose run has ended, when that was wished for. */
  readonly removeIfWished: (container: Container) => void;
  /** A container that was paused by an earlier endpoint has its VM running. */
  readonly foundAwake: (container: Container) => Promise<void>;
}
