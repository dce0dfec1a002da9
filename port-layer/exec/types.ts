/**
 * Containers: what can be asked of them, and what is reported about them. Plain data; the personality stores what it wants in
 * `annotations`.
 */

import type { ErrorRecord } from '../errors.js';
import type { Links, NetworkEndpoint } from '../network/types.js';
import type { ContainerSpec } from './container-spec.js';

/**
 * `created` → `starting` → `running` → `stopping` → `exited` → `starting` …; `removing` from any. `dead`: could not be removed.
 */
export type ContainerState = 'created' | 'starting' | 'running' | 'stopping' | 'exited' | 'removing' | 'dead';

/** What the personality has prepared for a run. */
export interface Preparation {
  /** To be stored. */
  annotations: Record<string, string>;
  links?: Links | undefined;
}

/** A container as it is now. */
export interface ContainerInfo {
  spec: ContainerSpec;
  state: ContainerState;
  startedAt: Date | null;
  finishedAt: Date | null;
  /** For a running container: when the previous run ended, if that is still known. */
  lastFinishedAt?: Date | null;
  /** Of the last run; 0 before the first. */
  exitCode: number;
  /** Why the last start failed, or why it stands still; null if neither applies. */
  error: ErrorRecord | null;
  oomKilled: boolean;
  /** Its VM is suspended in memory; `state` is the one before, and after, the pause. */
  paused: boolean;
  /** Process id in the guest of the first process; 0 when not running. */
  pid: number;
  endpoints: NetworkEndpoint[];
  /** A vSphere client does not know the VM's process id on the host; this is the VM's managed object id and UUID. */
  vm: { moid: string; uuid: string };
}

/** How a run ended. */
export interface ExitStatus {
  exitCode: number;
  oomKilled: boolean;
  error: ErrorRecord | null;
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/** What happened to a container, whoever caused it: this engine, the process itself, or an administrator in vSphere. */
export type ContainerEvent =
  | { type: 'created' | 'started' | 'paused' | 'unpaused' | 'removed'; container: ContainerInfo; time: Date }
  /** It has its addresses, and its machine is about to be powered on. */
  | { type: 'starting'; container: ContainerInfo; time: Date }
  | { type: 'exited'; container: ContainerInfo; exitCode: number; time: Date }
  /** The kernel has killed one of its processes for lack of memory; the container may go on. */
  | { type: 'oom'; container: ContainerInfo; time: Date }
  /** Its guest sent something over the channel that no guest sends, and was hung up on: "the guest broke the protocol: it sent …". */
  | { type: 'guestBroken'; container: ContainerInfo; error: ErrorRecord; time: Date }
  /** `container.error` says why. */
  | { type: 'startFailed'; container: ContainerInfo; time: Date };

/** See {@link ExecService.stop}. */
export interface StopOptions {
  signal?: number;
  timeoutSeconds?: number;
  /** The container is started again next, so it stays even if it is to be removed when it exits. */
  keep?: boolean;
}

/** See {@link ExecService.update}. */
export interface ResourceUpdate {
  cpus: number;
  memoryMiB: number;
  /** As {@link ContainerSpec.cpuShares}. */
  cpuShares?: number;
  /** All known limits, including those that were lifted, which say so. */
  limits: Record<string, string>;
  /** The same as {@link limits}, until the container is started again; undefined: no difference. */
  limitsNow?: Record<string, string>;
  /** Added to the existing ones. */
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
   * @throws notModified (already running); invalid when the process can't be started (the subject has exit code 126, 127 or 128);
   *   insufficientResources; conflict
   * @param prepare what the caller must get ready before the VM is powered on. If it fails, the start fails.
   */
  start(id: string, prepare?: () => Promise<Preparation>): Promise<void>;
  /** Stop signal, then after `timeoutSeconds` (undefined: the container's own; -1: never) SIGKILL. @throws notModified */
  stop(id: string, options: StopOptions): Promise<void>;
  /** Delivers a signal to the first process. @throws conflict when it is not running */
  kill(id: string, signal: number): Promise<void>;
  /** Suspends the VM in memory. @throws conflict when it does not run, or is already paused */
  pause(id: string): Promise<void>;
  /** @throws unavailable when it is not paused */
  unpause(id: string): Promise<void>;
  wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<ExitStatus>;
  /**
   * A running container is powered off without asking its guest, unless it writes to a volume that stays.
   * @param options `volumes`: also removes its anonymous volumes
   * @throws conflict when it is running and not `force`
   */
  remove(id: string, options: { force: boolean; volumes?: boolean }): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  /**
   * Changes what a container may use: its limits at once (if it is paused, when it goes on); its VM at once if that is off, otherwise at
   * the next start. Returns what its VM has until then.
   * @throws invalid with the guest's words, and then nothing is changed; conflict
   */
  update(id: string, update: ResourceUpdate): Promise<{ cpus: number; memoryMiB: number }>;
  /** Replaces the given annotations; others stay. */
  annotate(id: string, annotations: Record<string, string>): Promise<void>;
}
