/**
 * The port layer's vocabulary: what the Docker personality asks for and gets back. Plain data, no Docker types; what the
 * personality wants to keep with a container goes into `annotations`, opaque here.
 */
import type { Readable, Writable } from 'node:stream';
import type { FileSpec, ProcessSpec, TmpfsSpec } from '../tether/program/spec.js';
import type { ObserveService } from './observe/types.js';
import type { StorageReserve } from './storage/storage-reserve.js';

export type { Meter, ObserveService, ProcessList, ResourceUsage } from './observe/types.js';

/**
 * `created` → `starting` → `running` → `stopping` → `exited` → `starting` …; `removing` from any. `dead`: could not be removed.
 */
export type ContainerState = 'created' | 'starting' | 'running' | 'stopping' | 'exited' | 'removing' | 'dead';

/** Other containers as a container knows them: lines of its hosts file, and variables that its own environment does not set. */
export interface Links {
  hosts: { address: string; names: string[] }[];
  env: string[];
}

/** What the personality has made ready for a run. */
export interface Preparation {
  /** To be kept. */
  annotations: Record<string, string>;
  links?: Links | undefined;
}

/** In place of an address: that of the gateway of the container's network, which is the endpoint's. */
export const HOST_GATEWAY = 'host-gateway';

/** A volume in a container. */
export interface VolumeMount {
  /** Its name. */
  volume: string;
  /** Absolute, without `.` and `..`; links in it are followed inside the container's root. */
  path: string;
  readOnly: boolean;
  /** A directory in the volume, instead of its root; relative. */
  subpath?: string;
  /** It is to be removed with the container: nothing in it need be kept beyond that. */
  disposable?: boolean;
}

/** What a container is, as given at create; kept in the VM's extraConfig. */
export interface ContainerSpec {
  version: 1;
  /** 64 hex digits. */
  id: string;
  /** Unique in the VCH, without a leading slash. */
  name: string;
  createdAt: string;
  /** Chain id (`sha256:…`) of the image's last layer; null: an image without layers (an empty root). */
  layer: string | null;
  /** Image id (`sha256:…`) and the reference the user gave. */
  imageId: string;
  imageName: string;
  cpus: number;
  /** Weight of its processors against other VMs', 1000 for each is the usual (vSphere's shares); undefined: that. */
  cpuShares?: number;
  memoryMiB: number;
  hostname: string;
  domainname: string;
  process: ProcessSpec;
  stopSignal: number;
  stopTimeoutSeconds: number;
  readOnlyRoot: boolean;
  /** Bytes that its root filesystem may take; undefined: all of its disk. */
  rootSize?: number;
  /** 0: no /dev/shm. */
  shmSize: number;
  /** What process 1 is: an init that runs {@link process}, or that itself. */
  init?: boolean;
  /** All devices of the VM, and /sys can be written to. */
  privileged?: boolean;
  /** Its control group can be written to. */
  writableCgroups?: boolean;
  userNamespaces?: boolean;
  tmpfs?: TmpfsSpec[];
  volumes?: VolumeMount[];
  maskedPaths?: string[];
  readOnlyPaths?: string[];
  sysctls: Record<string, string>;
  /** Limits of the cgroup in the guest (version 2), by file: `memory.max`, `pids.max`, `cpu.max`, … */
  limits?: Record<string, string>;
  /** What its VM still has, where that is not {@link cpus} and {@link memoryMiB}: it is changed when it is started next. */
  hardware?: { cpus: number; memoryMiB: number; limits?: Record<string, string> };
  /** Name servers, search list and options of /etc/resolv.conf; empty or null: the machine's own, as Docker does. */
  dns: { servers: string[]; search: string[]; options: string[] } | null;
  /** An address may be {@link HOST_GATEWAY}. */
  extraHosts: { host: string; address: string }[];
  /** Of its current or last run. */
  links?: Links;
  /** Further files bind-mounted into the container. */
  files: FileSpec[];
  /** Networks to join, by name; the first one gives the default route. Empty: no network card. */
  networks: {
    network: string;
    aliases: string[];
    /** `xx:xx:xx:xx:xx:xx`; undefined: the host makes one. */
    mac?: string;
  }[];
  /** What its output log keeps; undefined: everything. */
  log?: { kept: boolean; keepBytes?: number; rotation?: LogRotation };
  /** Remove when it exits. */
  autoRemove: boolean;
  /** Opaque to the port layer. */
  annotations: Record<string, string>;
}

/** An address a container has on a network while it runs. */
export interface NetworkEndpoint {
  network: string;
  networkId: string;
  endpointId: string;
  mac: string;
  /** Empty strings while the container does not run. */
  address: string;
  prefixLength: number;
  gateway: string;
  aliases: string[];
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
  /** Why the last start failed, or ''. */
  error: string;
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
  error: string;
}

/** A log as so many files of a size, the newest of which are kept. */
export interface LogRotation {
  /** What a line takes of a file: as Docker's driver of that name writes it. */
  format: 'json-file' | 'local';
  /** A file of this size or more is full. */
  fileBytes: number;
  files: number;
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/** What happened to a container; whoever caused it (this engine, the process itself, an admin in vSphere). */
export type ContainerEvent =
  | { type: 'created' | 'started' | 'paused' | 'unpaused' | 'removed'; container: ContainerInfo; time: Date }
  | { type: 'exited'; container: ContainerInfo; exitCode: number; time: Date }
  /** The kernel has killed a process of it for want of memory; the container may go on. */
  | { type: 'oom'; container: ContainerInfo; time: Date }
  /** Its guest sent over the channel what no guest sends, and was hung up on: "the guest broke the protocol: it sent …". */
  | { type: 'guestBroken'; container: ContainerInfo; error: string; time: Date }
  | { type: 'startFailed'; container: ContainerInfo; error: string; time: Date };

/** One piece of output. `offset`: where its record stands in the output log (session 0 only, else -1). */
export interface OutputChunk {
  stream: 'stdout' | 'stderr';
  timeNs: bigint;
  data: Buffer;
  offset: number;
}

/** A live connection to a session's streams. Its owner must `close()` it. */
export interface AttachedStreams {
  /** Object mode, {@link OutputChunk}s; ends when the process has exited and all output was delivered. Backpressure counts. */
  output: Readable;
  /** null when stdin was not asked for or is not open. Ending it closes the process's stdin (last writer). */
  stdin: Writable | null;
  /** Detaches; the process goes on. */
  close(): void;
}

export interface AttachOptions {
  stdin: boolean;
  /** Give what the log has first (`logs=1`). */
  logs: boolean;
  /** Follow live output (`stream=1`). */
  stream: boolean;
}

export interface LogOptions {
  follow: boolean;
  stdout: boolean;
  stderr: boolean;
  sinceNs?: bigint;
  untilNs?: bigint;
  /** Number of last lines, of both streams and all times; undefined: all. */
  tail?: number;
}

/** An exec as it is now. */
export interface ExecInfo {
  id: string;
  containerId: string;
  process: ProcessSpec;
  running: boolean;
  /** null until it has ended. */
  exitCode: number | null;
  pid: number;
  openedStreams: { stdin: boolean; stdout: boolean; stderr: boolean };
}

export interface NetworkInfo {
  id: string;
  name: string;
  driver: string;
  createdAt: Date;
  subnet: string;
  gateway: string;
  portGroup: string;
  /** Running containers on it. */
  endpoints: (NetworkEndpoint & { containerId: string; containerName: string })[];
}

/** A stored image layer. */
export interface LayerInfo {
  /** `sha256:…` */
  chainId: string;
  parent: string | null;
  diffId: string;
  /** Bytes of file content in this layer, as Docker counts an image's size. */
  size: number;
  /** The layer below (its chain id) whose disk is this one's too: this one changes nothing. Without it, a disk of its own. */
  disk?: string;
}

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
   * @throws notModified (runs already); invalid with a message that begins with `exec: ` when the process can't be started
   *   (`StartError` carries exit code 126 or 127); insufficientResources; conflict
   * @param prepare what the caller must have ready before the VM is powered on. When it fails, the start has failed.
   */
  start(id: string, prepare?: () => Promise<Preparation>): Promise<void>;
  /** Stop signal, then after `timeoutSeconds` (undefined: the container's own; -1: never) SIGKILL. @throws notModified */
  stop(id: string, options: StopOptions): Promise<void>;
  /** Delivers a signal to the first process. @throws conflict when not running */
  kill(id: string, signal: number): Promise<void>;
  /** Suspends the VM in memory. @throws conflict in Docker's words when it does not run, or is paused already */
  pause(id: string): Promise<void>;
  /** @throws unavailable in Docker's words when it is not paused */
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

/** Streams of containers and execs. */
export interface InteractionService {
  /** May be called before start: the output then begins with the process's first byte. */
  attach(id: string, options: AttachOptions, signal?: AbortSignal): Promise<AttachedStreams>;
  resize(id: string, size: { rows: number; cols: number }): Promise<void>;
  /** @throws unsupported when nothing is kept. Object mode: arrays of {@link OutputChunk}s split at line ends (a chunk is at most one line, and not longer than 16 KiB). */
  logs(id: string, options: LogOptions, signal?: AbortSignal): Promise<Readable>;
  /**
   * Looks up who an exec with this `ProcessSpec.user` would run as; numbers need no look-up, and none of the container.
   * @throws invalid in Docker's words when there is no such user or group
   */
  checkUser(containerId: string, user: string): Promise<void>;
  execCreate(
    containerId: string,
    process: ProcessSpec,
    streams: { stdin: boolean; stdout: boolean; stderr: boolean },
  ): Promise<ExecInfo>;
  /** Starts an exec; `detach`: null. @throws StartError as in `start` (exit code 126/127) */
  execStart(
    execId: string,
    options: { detach: boolean; size?: { rows: number; cols: number } },
  ): Promise<AttachedStreams | null>;
  execResize(execId: string, size: { rows: number; cols: number }): Promise<void>;
  /** Delivers a signal to an exec's process; nothing happens when it has ended. */
  execKill(execId: string, signal: number): Promise<void>;
  /** The exit code, when a started exec has ended. */
  execWait(execId: string): Promise<number>;
  execInspect(execId: string): ExecInfo;
  /** Execs of a container that are known (running ones, and ended ones for a while). */
  execIds(containerId: string): string[];
}

/** See {@link LayerStore.write}. */
export interface LayerWriteOptions {
  verify(): Promise<void>;
  applied?(): void;
  signal?: AbortSignal;
}

/** What is at a path of a container, as `lstat` says it. */
export interface PathStat {
  /** The last component of the path that was asked for. */
  name: string;
  size: number;
  /** As in `st_mode`. */
  mode: number;
  /** Seconds since 1970 and nanoseconds. */
  mtime: { sec: number; nsec: number };
  /** Where a symbolic link leads in the end, inside the container's root; else ''. */
  linkTarget: string;
}

/** A difference between a container's root and its image. */
export interface FileChange {
  kind: 'modified' | 'added' | 'deleted';
  /** Absolute. */
  path: string;
}

/** Files of containers, running or not. Paths are text; nothing leads out of the container's root. */
export interface FileService {
  /** @throws notFound (nothing there), unavailable with the system's words */
  stat(id: string, path: string, signal?: AbortSignal): Promise<PathStat>;
  /** What is at a path, a symbolic link itself, as a tar; its names begin with the path's last component. */
  archive(id: string, path: string, signal?: AbortSignal): Promise<{ stat: PathStat; tar: Readable }>;
  /**
   * Unpacks a tar into the directory at `path`. `keepKind`: no directory is replaced by something else, nor the other way round;
   * `asUser`: everything belongs to the container's user.
   * @throws notFound, invalid (no directory, a read-only root, an unknown user), unavailable
   */
  extract(
    id: string,
    path: string,
    tar: Readable,
    options: { keepKind: boolean; asUser: boolean },
    signal?: AbortSignal,
  ): Promise<void>;
  /** The container's whole root as a tar, without what is mounted in it. */
  export(id: string, signal?: AbortSignal): Promise<Readable>;
  /** What was changed since the image, in the order of the paths: a directory of which only the content changed is modified. */
  changes(id: string, signal?: AbortSignal): Promise<FileChange[]>;
  /** Bytes of the files that are new or changed since the image: what the container takes besides it. */
  size(id: string, signal?: AbortSignal): Promise<number>;
  /**
   * What was changed since the image as the tar of a layer; only the archive's end when nothing was. `freeze`: processes that change
   * files wait while it is read.
   */
  layer(id: string, options: { freeze: boolean }, signal?: AbortSignal): Promise<Readable>;
}

/** Image layers on the datastore. */
export interface LayerStore {
  has(chainId: string): boolean;
  get(chainId: string): LayerInfo | undefined;
  list(): LayerInfo[];
  /**
   * Writes a layer from its uncompressed tar and publishes it in one step; a failed or aborted write leaves nothing. The
   * caller has the digest checked: `verify` is awaited after the tar's end and before the layer is published. `applied` is called
   * when the next layer may be written on this one, though it is not stored yet; no layer is published before its parent.
   * @throws invalid (bad tar), insufficientResources (datastore full)
   */
  write(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    options: LayerWriteOptions,
  ): Promise<LayerInfo>;
  /** @throws conflict while a layer or container stands on it */
  delete(chainId: string): Promise<void>;
}

/** A stored volume. */
export interface VolumeInfo {
  name: string;
  createdAt: string;
  capacityBytes: number;
  driver: string;
  labels: Record<string, string> | null;
  options: Record<string, string> | null;
}

/** A volume to be made. Without `capacityBytes` it has the usual capacity, of which only what is written takes room. */
export type NewVolume = Omit<VolumeInfo, 'createdAt' | 'capacityBytes'> & { capacityBytes?: number };

/** A directory of an image, by its last layer: what a new volume begins with. */
export interface VolumeContent {
  layer: string | null;
  path: string;
}

/** Volumes on the datastore: disks that outlive containers. */
export interface VolumeStore {
  list(): VolumeInfo[];
  get(name: string): VolumeInfo | undefined;
  /**
   * Makes a volume with what the image's directory has, and that directory's owner and mode; an image without it gives nothing. One that
   * is there already is given as it is.
   * @throws invalid, insufficientResources, cancelled; nothing is left then
   */
  create(volume: NewVolume, content?: VolumeContent | null, signal?: AbortSignal): Promise<VolumeInfo>;
  /** As the content of `create`, for a volume that is there, if it is empty and not in use. True when it was. @throws notFound */
  populate(name: string, content: VolumeContent, signal?: AbortSignal): Promise<boolean>;
  /** It is off the list at once. @throws notFound; conflict while a container has it */
  remove(name: string): Promise<void>;
  /** Bytes of its files, as last written to the disk. @throws notFound, invalid (it is being changed) */
  usage(name: string, signal?: AbortSignal): Promise<number>;
}

/** Small durable values on the datastore, each replaced whole. */
export interface KeyValueStore {
  get(key: string): Promise<Buffer | undefined>;
  put(key: string, value: Buffer): Promise<void>;
  delete(key: string): Promise<void>;
}

export interface NetworkService {
  list(): NetworkInfo[];
  /** By name or id (or unique prefix). @throws notFound */
  resolve(reference: string): NetworkInfo;
}

/** What `docker info` shows of the host below. */
export interface HostInfo {
  cpus: number;
  memoryBytes: number;
  product: string;
  version: string;
  kernelVersion: string;
  hostName: string;
  /** What runs its machines and why, where it tells; otherwise empty. The next two too. */
  acceleration: string;
  /** The program that runs them, with its version: `QEMU emulator version 7.2.22 (…)`. */
  emulator: string;
  /** The version of the kernel that containers see. */
  containerKernel: string;
  /** What the program is kept in, one word for each part; empty where the host does not tell. */
  cage: string;
  /** What keeps machines apart elsewhere and is not to be had there, one sentence each. */
  lacks: string[];
}

export interface PortLayer {
  readonly exec: ExecService;
  readonly interaction: InteractionService;
  readonly observe: ObserveService;
  readonly files: FileService;
  readonly layers: LayerStore;
  readonly volumes: VolumeStore;
  readonly kv: KeyValueStore;
  readonly network: NetworkService;
  /** What is kept free. */
  readonly room: StorageReserve;
  hostInfo(): Promise<HostInfo>;
  /** Container events from now on, in order. Returns the unsubscriber. */
  onEvent(listener: (event: ContainerEvent) => void): () => void;
  close(): Promise<void>;
}
