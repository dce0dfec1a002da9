/** Containers and their processes for tests that make them without the Docker API: ordinary ones, in which a test changes what matters to it. */
import type { ContainerSpec, ProcessSpec } from '../../port-layer/index.js';
import type { ProgramSpec } from '../../tether/program/spec.js';

/** A process, as root. */
export function processSpec(args: string[], more: Partial<ProcessSpec> = {}): ProcessSpec {
  return {
    args,
    env: ['PATH=/bin'],
    cwd: '/',
    user: '',
    additionalGroups: [],
    tty: false,
    openStdin: false,
    rlimits: [],
    ...more,
  };
}

/** What a VM without network cards does: it runs this process. */
export function programSpec(process: ProcessSpec, more: Partial<ProgramSpec> = {}): ProgramSpec {
  return {
    containerId: 'c',
    hostname: 'h',
    domainname: '',
    rootDisk: { bus: 0, unit: 0 },
    readOnlyRoot: false,
    nics: [],
    files: [],
    sysctls: {},
    shmSize: 0,
    process,
    stopSignal: 15,
    stopTimeoutSeconds: 1,
    gateTimeoutMs: 0,
    ...more,
  };
}

/** A small container without a layer, on no network. Its name is its id, unless there is another. */
export function containerSpec(id: string, more: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    version: 1,
    id,
    name: id,
    createdAt: '2026-01-01T00:00:00Z',
    layer: null,
    imageId: '',
    imageName: 'x',
    cpus: 1,
    memoryMiB: 256,
    hostname: 'h',
    domainname: '',
    process: processSpec(['sh']),
    stopSignal: 15,
    stopTimeoutSeconds: 10,
    readOnlyRoot: false,
    shmSize: 0,
    sysctls: {},
    dns: null,
    extraHosts: [],
    files: [],
    networks: [],
    autoRemove: false,
    annotations: {},
    ...more,
  };
}
