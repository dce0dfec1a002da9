/**
 * What a container VM is to do, before it is compiled into a program (`compile.ts`) that PID 1 carries out. Plain data; knows nothing of
 * Docker or vSphere.
 */

/** Where a container that asked for an init finds it. */
export const INIT_PATH = '/sbin/docker-init';

/** A process to run in the container: its first one, or an exec. */
export interface ProcessSpec {
  /** argv; `args[0]` without a slash is looked up in the environment's PATH, in the guest. Never empty. */
  args: string[];
  /** The complete environment, `KEY=value`. The guest adds HOME (from the user's passwd entry) where it is missing. */
  env: string[];
  /** Working directory, absolute. The first process's is made if it is missing. */
  cwd: string;
  /** `""` (root), `name`, `uid`, `name:group`, `uid:gid`; looked up by the guest in the container's files. */
  user: string;
  /** Extra supplementary groups, names or numbers. */
  additionalGroups: string[];
  tty: boolean;
  /** False: stdin is /dev/null. */
  openStdin: boolean;
  terminalSize?: { rows: number; cols: number };
  rlimits: Rlimit[];
  /** The capabilities it may have, such as `CAP_CHOWN` (`capabilities.ts`); undefined: Docker's defaults. */
  capabilities?: string[];
  /** It cannot gain privileges by executing a program (prctl PR_SET_NO_NEW_PRIVS). */
  noNewPrivileges?: boolean;
  /** -1000 to 1000: the higher, the sooner it is killed when memory runs out. */
  oomScoreAdj?: number;
  /** As for umask(2); undefined: 022. */
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
  /** `xx:xx:xx:xx:xx:xx`. The guest sets it if the card has another one, as it does after a resume from a snapshot. */
  mac: string;
  /** IPv4, CIDR: `172.16.0.2/16`; '': none. */
  address: string;
  /** Where the default route leads. Only the main card has one, for each of IPv4 and IPv6. */
  gateway?: string;
  /** CIDR; without it, the card does not speak IPv6 at all. */
  address6?: string;
  gateway6?: string;
  /**
   * It gets its IPv4 address by DHCP, before the first process runs: `address` is ''. `route`: its default route too.
   */
  dhcp?: 'address' | 'route';
  mtu?: number;
  /** `IFNAME` in a key stands for the card's name: `net.ipv4.conf.IFNAME.log_martians`. */
  sysctls?: Record<string, string>;
  /** What may pass the card; undefined: everything. */
  filter?: NicFilter;
}

/** A card that is set up while the container runs. An empty `name` means the first free one of `eth0`, `eth1`, … */
export type AddedNic = Omit<NicSpec, 'index'>;

/**
 * How far a network outside is trusted. In each case answers pass to what the container began, except under `closed`, where nothing passes:
 * `outbound` lets nothing in, `peers` lets in the peers, `published` the ports (and pings), `open` everything.
 */
export interface NicFilter {
  trust: 'closed' | 'outbound' | 'peers' | 'published' | 'open';
  /** Let in under `published`. What comes to a port with `to` gets to that one instead, which is not let in by that. */
  ports: OpenPort[];
  /** The addresses of the peers, CIDR, `first-last` or {@link LEASED_SUBNET}; under `peers`, everything from there comes in. */
  peers: string[];
  /** The addresses that may be sent to; undefined: all, but under `closed` none. */
  to?: string[];
  /**
   * What it may send as: its own addresses, and nobody else's. Then its frames are checked too (Ethernet, ARP, IPv4 and IPv6, and `to`), so that a
   * process that may make packets of its own gets no further than others. Undefined: whoever is outside checks that.
   */
  own?: { mac: string; addresses: string[] };
}

/** A range of ports that others reach; `to`: a single one that stands for another. */
export interface OpenPort {
  protocol: 'tcp' | 'udp';
  first: number;
  last: number;
  to?: number;
}

/** Among peers: the subnet of the card's address by DHCP. */
export const LEASED_SUBNET = 'lease';

/** Where a container's default routes lead. '': there is none. */
export interface DefaultRoutes {
  gateway: string;
  /** The card that it is reached by: its MAC address. Without a gateway: one that will be told a router by DHCP. */
  mac: string;
  gateway6: string;
  mac6: string;
}

/** A file that does not become part of the container's disk: it is in memory, and bind-mounted over `path`. */
export interface FileSpec {
  path: string;
  /** In `/etc/hosts`, `dhcp:MAC` at the beginning of a line stands for the address that this card gets. */
  content: string;
  mode: number;
}

/** A filesystem in memory. `flags` as in mount(2), `options` as in its data argument: `size=1m,mode=700`. */
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

/** A filesystem that the guest mounts in place of a volume's disk, as mount(2) takes it. */
export interface GuestFilesystem {
  /** The same for all mounts of one volume; there are 64. */
  number: number;
  /** The volume's name, for messages. */
  volume: string;
  type: string;
  device: string;
  flags: number;
  data: string;
}

/**
 * A card in a network namespace of its own, which the container neither sees nor reaches: others are on its network for the sake of one
 * volume. IPv4, without a gateway.
 */
export interface HiddenCard {
  /** Its number among the machine's cards, if it is there at the start; undefined: it is plugged in, and found by its MAC address. */
  index?: number;
  mac: string;
  /** CIDR: `169.254.77.2/24`. */
  address: string;
  mtu?: number;
}

/** A volume whose disk another machine has, which serves it by NFS 4.2. */
export interface ServedVolume {
  /** As {@link GuestFilesystem}'s. */
  number: number;
  /** The volume's name, for messages. */
  volume: string;
  /** The server knows a client by the card's MAC address, which therefore stays the same while the container runs. */
  card: HiddenCard;
  /** The server's IPv4 address. */
  server: string;
}

/** What a machine is to do so that others can mount a volume whose disk it has. */
export interface VolumeServing {
  /** A volume's disk that its program has mounted for writing. */
  disk: DiskRef;
  /** Has the same MAC address and address on each machine that serves the volume: then clients go on when the server is another one. */
  card: HiddenCard;
  /**
   * The clients that run and had mounted it from the server before this one, by the MAC addresses of their cards. Until each has taken back
   * what it had open and locked, or 30 s are over, nobody gets anything new. Empty: nobody is waited for.
   */
  clients: string[];
}

/** A volume's filesystem, bound over a path. */
export interface VolumeSpec {
  /** `diskReadOnly`: all mounts of this disk are read-only, and so its filesystem is mounted read-only. */
  from: { disk: DiskRef; diskReadOnly: boolean } | { filesystem: GuestFilesystem } | { served: ServedVolume };
  path: string;
  readOnly: boolean;
  /** The path in the volume that is bound; '': its root. */
  subpath: string;
  /** One that the guest mounts is filled with what the root has at the path, if it is empty. */
  fill?: boolean;
}

/** Everything PID 1 needs to turn a booted kernel into the running container. */
export interface ProgramSpec {
  containerId: string;
  hostname: string;
  domainname: string;
  rootDisk: DiskRef;
  readOnlyRoot: boolean;
  /**
   * The container has never run. The guest first makes what Docker's init layer has (`tether/guest/place.c`), unless that was done since
   * the container was created, which was at this time in Unix seconds.
   */
  initLayer?: number;
  /** Bytes that the root filesystem may use; undefined: its whole disk. */
  rootSize?: number;
  /** It has all devices, and /sys is writable. */
  privileged?: boolean;
  /** The container may write to its own control group. */
  writableCgroups?: boolean;
  /** Unprivileged users may create user namespaces. */
  userNamespaces?: boolean;
  /** There is an init at {@link INIT_PATH}; `process.args` begins with it. */
  init?: boolean;
  /** Mounted with the volumes, the outer paths first. */
  tmpfs?: TmpfsSpec[];
  volumes?: VolumeSpec[];
  /** Paths that are hidden, and paths that are read-only. Missing ones are skipped. */
  maskedPaths?: string[];
  readOnlyPaths?: string[];
  nics: NicSpec[];
  /**
   * The name servers that 127.0.0.11 passes questions on to, in order: `172.18.0.1`, `fd00::1`; also `dhcp` for those that DHCP servers name,
   * and `else:172.18.0.1` for one that counts only if they name none (`steps.ts`). Undefined or empty: nothing answers there.
   */
  nameServers?: string[];
  files: FileSpec[];
  sysctls: Record<string, string>;
  /** Values for files of the container's control group (cgroup v2), such as `memory.max`. */
  limits?: Record<string, string>;
  /** Bytes of /dev/shm; 0: there is none. */
  shmSize: number;
  /** False: the process's output is not written to the output log. */
  keepLog?: boolean;
  process: ProcessSpec;
  /** The signal that a guest shutdown sends to the process, and how long it then waits before SIGKILL. */
  stopSignal: number;
  stopTimeoutSeconds: number;
  /** How long to wait for the endpoint's `go` before starting anyway: vSphere HA may restart a VM with no endpoint around. */
  gateTimeoutMs: number;
}
