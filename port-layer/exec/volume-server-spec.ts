/** A machine that does nothing but serve a volume: a container of its own kind, which the personality does not see. */
import { shortId } from '../../src/common/ids.js';
import { volumeId } from '../storage/volume-disks.js';
import type { ContainerSpec } from './container-spec.js';

const MEMORY_MIB = 256;

/** @param id 64 hex digits */
export function volumeServerSpec(volume: string, id: string, now: Date): ContainerSpec {
  return {
    version: 1,
    id,
    // No container of the personality's can have such a name.
    name: `volume:${shortId(volumeId(volume))}`,
    createdAt: now.toISOString(),
    layer: null,
    imageId: '',
    imageName: `nothing: it serves the volume ${volume}`,
    cpus: 1,
    memoryMiB: MEMORY_MIB,
    hostname: 'volume',
    domainname: '',
    // An init without a process of its own waits to be ended.
    init: true,
    process: {
      ...{ args: [], env: [], cwd: '/', user: '', additionalGroups: [] },
      ...{ tty: false, openStdin: false, rlimits: [] },
    },
    stopSignal: 15,
    stopTimeoutSeconds: 10,
    readOnlyRoot: false,
    shmSize: 0,
    sysctls: {},
    dns: null,
    extraHosts: [],
    files: [],
    networks: [],
    volumes: [{ volume, path: '/volume', readOnly: false }],
    servesVolume: volume,
    log: { kept: false },
    autoRemove: false,
    annotations: {},
  };
}
