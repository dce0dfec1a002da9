/**
 * Where things are kept. One *instance* is one embedded host: its state directory names it, so that a test's host and
 * the one of `npm start` live side by side.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { invalid } from './errors.js';

export const DEFAULT_STATE_DIR = '/var/lib/caisson';
export const DEFAULT_CACHE_DIR = '/var/cache/caisson';

/** The paths of one embedded host. All absolute. */
export interface InstancePaths {
  /** Short name (at most 8 characters) used in namespace and interface names. */
  readonly instance: string;
  readonly stateDir: string;
  /** Datastore `datastore1`. */
  readonly datastoreDir: string;
  /** Its other datastores; undefined: none. */
  readonly moreDatastores?: readonly { name: string; directory: string }[];
  /** Sockets and pid files; lost at reboot. Kept short: a unix socket path holds 107 bytes. */
  readonly runDir: string;
  /** Where hostd gives and takes the datastore's files without TLS, for the endpoints. */
  readonly filesSocket: string;
  /** `{url, thumbprint, pid}` of the running hostd. */
  readonly hostdFile: string;
  /** `{pid, startTime}` of the process that keeps hostd running. */
  readonly supervisorFile: string;
  /** `{user, password}`, mode 0600. */
  readonly credentialsFile: string;
  /** Users of the embedded host with hashes of their passwords, roles and permissions; mode 0600. */
  readonly accessFile: string;
}

/** The paths of the instance that lives in `stateDir`. */
export function instancePaths(stateDir: string): InstancePaths {
  const instance =
    stateDir === DEFAULT_STATE_DIR ? 'caisson' : createHash('sha256').update(stateDir).digest('hex').slice(0, 8);
  const runDir = instance === 'caisson' ? '/run/caisson' : `/run/caisson-${instance}`;
  return {
    instance,
    stateDir,
    datastoreDir: join(stateDir, 'datastore1'),
    runDir,
    filesSocket: join(runDir, 'files.sock'),
    hostdFile: join(stateDir, 'hostd.json'),
    supervisorFile: join(runDir, 'supervisor.json'),
    credentialsFile: join(stateDir, 'credentials.json'),
    accessFile: join(stateDir, 'access.json'),
  };
}

/** The boot image that set-up prepares: kernel and initramfs, see `tether/image`. */
export interface BootImage {
  readonly kernel: string;
  readonly initramfs: string;
}

/** The boot image under a cache directory (default {@link DEFAULT_CACHE_DIR}, or `CAISSON_CACHE_DIR`). */
export function bootImage(cacheDir = cacheDirectory()): BootImage {
  return { kernel: join(cacheDir, 'boot', 'kernel'), initramfs: join(cacheDir, 'boot', 'initramfs.cpio') };
}

/** The launcher of the cage that QEMU runs in, which set-up compiles. */
export const launcherPath = (): string => join(cacheDirectory(), 'bin', 'caisson-cage');

/** The relay of a virtual container host's networks, which set-up compiles. */
export const relayPath = (): string => join(cacheDirectory(), 'bin', 'caisson-relay');

/** The library that hands QEMU a snapshot's memory, which set-up compiles. */
export const memoryLibrary = (): string => join(cacheDirectory(), 'bin', 'caisson-memory.so');

/** The file with the version of the kernel that VMs boot. */
export const kernelVersionFile = (): string => join(cacheDirectory(), 'kernel', 'version');

/** The cache directory in force. */
export function cacheDirectory(): string {
  return process.env.CAISSON_CACHE_DIR ?? DEFAULT_CACHE_DIR;
}

/**
 * Where the endpoint of a virtual container host keeps what it downloads or writes before it goes to the datastore. On disk, not
 * below `/run`: layers and disks can be larger than the machine's memory. @throws invalid for a malformed id
 */
export function spoolDirectory(vchId: string): string {
  if (!/^[0-9a-f]{1,64}$/.test(vchId)) throw invalid(`'${vchId}' is not the id of a virtual container host`);
  return join(cacheDirectory(), 'spool', vchId);
}

/** The environment variable that tells an endpoint the path of {@link InstancePaths.filesSocket}. */
export const FILES_SOCKET = 'CAISSON_FILES_SOCKET';

/** The environment variable that tells an endpoint its spool directory. */
export const OWN_SPOOL = 'CAISSON_SPOOL';

/** The spool directory of the endpoint that this process is. @throws invalid */
export function ownSpoolDirectory(vchId: string): string {
  return process.env[OWN_SPOOL] ?? spoolDirectory(vchId);
}
