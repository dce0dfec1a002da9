/**
 * The numbers in a program's bytes, and their limits. `compile.ts` writes them; the guest gets them through `tether/image/c-header.ts`, and
 * refuses a program of another version.
 */

/** Changed only when a boot image could no longer run the programs of existing containers. */
export const PROGRAM_VERSION = 1;

/** What a step does. A number is never reused for something else, because programs are stored with their containers. */
export const Step = {
  root: 1,
  hostname: 2,
  nic: 3,
  file: 4,
  sysctl: 5,
  shm: 6,
  stop: 7,
  gate: 8,
  process: 9,
  privileged: 10,
  init: 11,
  tmpfs: 12,
  mask: 13,
  readOnly: 14,
  limit: 15,
  rootSize: 16,
  userNamespaces: 17,
  noLog: 18,
  volume: 19,
  writableCgroups: 24,
  initLayer: 30,
  card: 31,
  nameServers: 32,
  guestMount: 33,
  servedVolume: 34,
} as const;

/** Bits of a process's first byte. */
export const ProcessFlag = { tty: 1, openStdin: 2, identifyOnly: 4, unfitArgs: 8 } as const;
/** A bit of the byte after a process's limits. */
export const NO_NEW_PRIVILEGES = 1;
/** Bits of a volume's step: this mount, or its whole disk, is read-only; it is filled from the image if it is empty. */
export const VolumeFlag = { mountReadOnly: 1, diskReadOnly: 2, fill: 4 } as const;

/** The umask of a process that asks for none, or was compiled before programs had it. */
export const USUAL_UMASK = 0o022;
/** /dev/shm in bytes, as the guest prepares it. */
export const USUAL_SHM = 64 << 20;

/** How many of each the guest accepts. */
export const MAX_LIMITS = 64;
export const MAX_FILES = 64;
export const MAX_MOUNTS = 512;
/** Volumes that have no disk. */
export const MAX_GUEST_MOUNTS = 64;
export const MAX_NICS = 16;
/** Volumes that a machine serves at a time. */
export const MAX_SERVED = 16;
/** SCSI controllers of a machine, and the units of each: vSphere's configuration maximums. */
export const MAX_BUSES = 4;
export const MAX_UNITS = 16;

/** Whether a card gets its address by DHCP, and its default route too. */
export const Dhcp = { none: 0, address: 1, route: 2 } as const;

/** Stands for a card's name in settings and filters of a card whose name the guest knows. */
export const CARD_NAME = 'IFNAME';
/** Stand for the first and the last address of the subnet of a card that gets its address by DHCP. Nobody has them: RFC 1112, class E. */
export const FIRST_PEER = '255.0.0.1';
export const LAST_PEER = '255.0.0.2';
/** Among name servers: those that DHCP servers have named; and before one that counts only if they name none. */
export const LEASED_SERVERS = 'dhcp';
export const UNLESS_LEASED = 'else:';
/** Lists of modules in the boot image: those for the machine's devices, and those of the packet filter, which few containers have. */
export const BOOT_MODULES = 'order';
export const FILTER_MODULES = 'filter';
/** Those of NFS, which a container with an NFS volume needs; and those of its server, for a volume that other machines mount too. */
export const NFS_MODULES = 'nfs';
export const SERVER_MODULES = 'nfs-server';
/** Stands for a card's number that is not known: it is found by its MAC address. */
export const NO_CARD_NUMBER = 0xffffffff;
