/** Containers: what is asked of them, and what they are told to be. Plain data; what the personality wants to keep goes into `annotations`. */

import type { ErrorRecord } from '../errors.js';
import type { Links, NetworkEndpoint } from '../network/types.js';
import type { ContainerSpec } from './container-spec.js';

/**
 * `created` → `starting` → `running` → `stopping` → `exited` → `starting` …; `removing` from any. `dead`: could not be removed.
 */
export type ContainerState = 'created' | 'starting' | 'running' | 'stopping' | 'exited' | 'removing' | 'dead';

/** What the personality has made ready for a run. */
export interface Preparation {
  /** To be kept. */
  annotations: Record<string, string>;
  links?: Links | undefined;
}

/** A container as it is now. */
export interface ContainerInfo {
  spec: ContainerSpec;
  state: ContainerState;
  startedAt: Date | null;
  finishedAt: Date | null;
  /** Of a container that runs: the end of the run before, if that is still known. */
  lastFinishedAt?: Date | null;
  /** Of the last run; 0 before the first. */
  exitCode: number;
  /** Why the last start failed, or why it stands still; null: neither. */
  error: ErrorRecord | null;
  oomKilled: boolean;
  /** Its VM is suspended in memory; `state` is what it was, and will be. */
  paused: boolean;
  /** Process id in the guest of the first process; 0 when not running. */
  pid: number;
  endpoints: NetworkEndpoint[];
  /** Host process id of the VM is not known to a vSphere client; this is the VM's managed object id and UUID. */
  vm: { moid: string; uuid: string };
}

/** How a run ended. */
export interface ExitStatus {
  exitCode: number;
  oomKilled: boolean;
  error: ErrorRecord | null;
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/** What happened to a container; whoever caused it (this engine, the process itself, an admin in vSphere). */
export type ContainerEvent =
  | { type: 'created' | 'started' | 'paused' | 'unpaused' | 'removed'; container: ContainerInfo; time: Date }
  | { type: 'exited'; container: ContainerInfo; exitCode: number; time: Date }
  /** The kernel has killed a process of it for want of memory; the container may go on. */
  | { type: 'oom'; container: ContainerInfo; time: Date }
  /** Its guest sent over the channel what no guest sends, and was hung up on: "the guest broke the protocol: it sent …". */
  | { type: 'guestBroken'; container: ContainerInfo; error: ErrorRecord; time: Date }
  /** `container.error` says why. */
  | { type: 'startFailed'; container: ContainerInfo; time: Date };

/** See {@link ExecService.stop}. */
export interface StopOptions {
  signal?: number;
  timeoutSeconds?: number;
  /** The container is started again next: it stays, even if it is to be removed when it exits. */
  keep?: boolean;
}

/** See {@link ExecService.update}. */
export interface ResourceUpdate {
  cpus: number;
  memoryMiB: number;
  /** As {@link ContainerSpec.cpuShares}. */
  cpuShares?: number;
  /** All that are known: those that are no longer wished for say so. */
  limits: Record<string, string>;
  /** As {@link limits}, until the container is started again; undefined: the same. */
  limitsNow?: Record<string, string>;
  /** Added to those there are. */
  annotations: Record<string, string>;
}

/** Containers. Ids are full ids; resolve names and prefixes with `resolve`. */
export interface ExecService {
  create(spec: ContainerSpec, signal?: AbortSignal): Promise<ContainerInfo>;
  /** By full id, name (with or without a leading slash) or unique id prefix. @throws notFound, conflict (ambiguous prefix) */
  resolve(reference: string): ContainerInfo;
  list(): ContainerInfo[];
  /**
   * Powers the VM on; resolves when the process runs.
   * @throws notModified (runs already); invalid when the process can't be started (the subject has exit code 126, 127 or
   *   128); insufficientResources; conflict
   * @param prepare what the caller must have ready before the VM is powered on. When it fails, the start has failed.
   */
  start(id: string, prepare?: () => Promise<Preparation>): Promise<void>;
  /** Stop signal, then after `timeoutSeconds` (undefined: the container's own; -1: never) SIGKILL. @throws notModified */
  stop(id: string, options: StopOptions): Promise<void>;
  /** Delivers a signal to the first process. @throws conflict when not running */
  kill(id: string, signal: number): Promise<void>;
  /** Suspends the VM in memory. @throws conflict when it does not run, or is paused already */
  pause(id: string): Promise<void>;
  /** @throws unavailable when it is not paused */
  unpause(id: string): Promise<void>;
  wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<ExitStatus>;
  /**
   * One that runs is powered off, without its guest being asked for anything, unless it writes to a volume that stays.
   * @param options `volumes`: those that nobody has named go too
   * @throws conflict when running and not `force`
   */
  remove(id: string, options: { force: boolean; volumes?: boolean }): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  /**
   * Changes what a container may use: its limits at once (when it goes on, if it is paused), its VM at once when that is off, else when
   * it is started next. Gives what its VM has until then.
   * @throws invalid with the guest's words, and nothing is changed; conflict
   */
  update(id: string, update: ResourceUpdate): Promise<{ cpus: number; memoryMiB: number }>;
  /** Replaces annotations (others stay). */
  annotate(id: string, annotations: Record<string, string>): Promise<void>;
}
