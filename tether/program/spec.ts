/**
 * What a container VM is asked to do, before it is compiled into a program (`compile.ts`) that PID 1 carries out.
 * Plain data; knows nothing of Docker or vSphere.
 */

/** Where a container has the init that it asked for. */
export const INIT_PATH = '/sbin/docker-init';

/** A process to run in the container: its first one, or an exec. */
export interface ProcessSpec {
  /** argv; `args[0]` without a slash is looked up in the environment's PATH, in the guest. Never empty. */
  args: string[];
  /** The complete environment, `KEY=value`. The guest adds HOME (from the user's passwd entry) where it is missing. */
  env: string[];
  /** Working directory, absolute; that of the first process is made if missing. */
  cwd: string;
  /** `""` (root), `name`, `uid`, `name:group`, `uid:gid`; resolved in the guest from the container's files. */
  user: string;
  /** Extra supplementary groups, names or numbers. */
  additionalGroups: string[];
  tty: boolean;
  /** False: stdin is /dev/null. */
  openStdin: boolean;
  terminalSize?: { rows: number; cols: number };
  rlimits: Rlimit[];
  /** Those it can have, as `CAP_CHOWN` (`capabilities.ts`); undefined: Docker's default ones. */
  capabilities?: string[];
  /** No program gives it rights that it does not have (prctl PR_SET_NO_NEW_PRIVS). */
  noNewPrivileges?: boolean;
  /** -1000 to 1000: how soon it is killed when memory runs out. */
  oomScoreAdj?: number;
  /** The mask of the files that it makes, as of umask(2); undefined: 022. */
  umask?: number;
}

/** `name` as in `ulimit`: nofile, nproc, core, stack, memlock, …; -1 is unlimited. */
export interface Rlimit {
  name: string;
  soft: number;
  hard: number;
}

/** A network interface of the VM, in the order of the VM's NICs. */
export interface NicSpec {
  /** Index of the VM's network card, 0 first. */
  index: number;
  name: string;
  /** `xx:xx:xx:xx:xx:xx`. Set by the guest when the card shows another one (a resumed clone does). */
  mac: string;
  /** CIDR, e.g. `172.16.0.2/16`. */
  address: string;
  gateway?: string;
  mtu?: number;
}

/** A file given to the container without becoming part of its disk: bind-mounted over `path` from memory. */
export interface FileSpec {
  path: string;
  content: string;
  mode: number;
}

/** A filesystem in memory. `flags` as of mount(2), `options` as in its data: `size=1m,mode=700`. */
export interface TmpfsSpec {
  path: string;
  flags: number;
  options: string;
}

/** Where a disk is attached: SCSI bus and unit number as in the VM's hardware, e.g. `0:0`. */
export interface DiskRef {
  bus: number;
  unit: number;
}

/** A volume's filesystem, bound over a path. */
export interface VolumeSpec {
  disk: DiskRef;
  /** No mount of this disk is written to: its filesystem is not either. */
  diskReadOnly: boolean;
  path: string;
  readOnly: boolean;
  /** What in the volume is bound; '': its root. */
  subpath: string;
}

/** Everything PID 1 needs to turn a booted kernel into the running container. */
export interface ProgramSpec {
  containerId: string;
  hostname: string;
  domainname: string;
  rootDisk: DiskRef;
  readOnlyRoot: boolean;
  /**
   * It never ran: what Docker's init layer has is made first (`tether/guest/place.c`), unless that was done since it was created, at
   * this time in Unix seconds.
   */
  initLayer?: number;
  /** Bytes that the root filesystem may take; undefined: all of its disk. */
  rootSize?: number;
  /** All devices, and /sys can be written to. */
  privileged?: boolean;
  /** The container's own control group, as it sees it, can be written to. */
  writableCgroups?: boolean;
  /** Who has no rights may make user namespaces, in which he has them. */
  userNamespaces?: boolean;
  /** An init is there, at {@link INIT_PATH}; `process.args` is to begin with it. */
  init?: boolean;
  /** Mounted with the volumes, the outer paths first. */
  tmpfs?: TmpfsSpec[];
  volumes?: VolumeSpec[];
  /** Hidden, and not to be written to. What is not there is passed over. */
  maskedPaths?: string[];
  readOnlyPaths?: string[];
  nics: NicSpec[];
  files: FileSpec[];
  sysctls: Record<string, string>;
  /** Files of the container's control group (cgroup v2, e.g. `memory.max`) and what is written to them. */
  limits?: Record<string, string>;
  /** Bytes of /dev/shm; 0: there is none. */
  shmSize: number;
  /** False: the process's output is not written to the output log. */
  keepLog?: boolean;
  process: ProcessSpec;
  /** What a clean guest shutdown sends to the process, and how long it waits before SIGKILL. */
  stopSignal: number;
  stopTimeoutSeconds: number;
  /** Longest wait for the endpoint's `go` before the process is started anyway (vSphere HA: no endpoint in sight). */
  gateTimeoutMs: number;
}
