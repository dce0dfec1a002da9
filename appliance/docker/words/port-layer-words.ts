/**
 * Docker's sentence for each error of the port layer. Clients and scripts look for some of these texts, so they are Docker's to
 * the byte.
 */
import type { ArchiveEntry, ErrorCode, ErrorSubject, RemovalHinders } from '../../../port-layer/index.js';

/** `null`: Docker knows nothing of the kind, and the port layer's own message is shown. */
type Words = { [C in ErrorCode]: ((subject: ErrorSubject<C>) => string) | null };

const notRunning = ({ container }: { container: string }): string => `container ${container} is not running`;

export const WORDS: Words = {
  'container.notFound': ({ reference }) => `No such container: ${reference}`,
  'container.ambiguous': ({ prefix }) => `Multiple IDs found with provided prefix: ${prefix}`,
  'container.nameTaken': ({ name, holder }) =>
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
  'container.alreadyRunning': ({ container }) => `container ${container} is already running`,
  'container.alreadyStopped': notRunning,
  'container.notRunning': notRunning,
  'container.hasRun': null,
  'container.stillRunning': ({ name }) =>
    `cannot remove container "/${name}": container is running: stop the container before removing or force remove`,
  'container.beingRemoved': ({ container, hinders }) => beingRemoved(hinders, container),
  'container.alreadyPaused': ({ container }) => `Container ${container} is already paused`,
  'container.notPaused': ({ container }) => `Container ${container} is not paused`,
  'container.suspendedOnly': ({ container }) =>
    `Container ${container} was paused by suspending its virtual machine alone: unpause it before it is looked into`,
  'container.standsStill': null,
  'container.heldByHost': ({ container, reason }) =>
    `Container ${container} is paused: ${reason}: the container stands still`,
  'container.stopped': null,
  'container.specTooLarge': null,
  'container.logsNotKept': () => 'configured logging driver does not support reading',
  'container.rootReadOnly': () => 'container rootfs is marked read-only',
  'container.volumeReadOnly': () => 'mounted volume is marked read-only',

  'start.beingRemoved': () => 'container is marked for removal and cannot be started',
  'start.tooLate': null,
  'start.poweredOff': null,
  'start.notPrepared': null,
  'process.notStarted': ({ of, reason }) =>
    of === 'container' ? containerNotStarted(reason) : `${EXEC_FAILED}${UNABLE}${reason}`,
  'process.unknownUser': null,
  'process.badEnvironment': ({ of, problem, entry }) => {
    const wrong = badEnvironment(problem, entry);
    return of === 'container'
      ? `${START_FAILED}${UNABLE}error during container init: ${wrong}`
      : `${EXEC_FAILED}${UNABLE}${wrong}`;
  },
  'exec.relativeDirectory': () => `${EXEC_FAILED}Cwd must be an absolute path`,

  'exec.notFound': ({ exec }) => `No such exec instance: ${exec}`,
  'exec.noCommand': () => 'No exec command specified',
  'exec.alreadyRunning': ({ exec }) => `exec command ${exec} is already running`,
  'exec.alreadyRun': ({ exec }) => `exec command ${exec} has already run`,
  'exec.notStarted': null,
  'exec.ended': ({ exec }) => `NotFound: process does not exist ${exec}: not found`,
  'exec.tooLate': () => 'timeout waiting for exec session ready',

  'guest.silent': null,
  'guest.brokeProtocol': null,
  'guest.notConnected': null,
  'guest.refusedLimits': null,
  'guest.refusedFreeze': null,
  'guest.refusedNetwork': null,
  'guest.tooOld': null,
  'guest.refusedServing': null,
  'guest.tooOldToServe': null,
  'guest.noHelper': null,

  'files.notFound': ({ container, path }) => `Could not find the file ${path} in container ${container}`,
  'files.failed': null,
  'files.unresolved': ({ reason, tooManyLinks }) => (tooManyLinks ? 'EvalSymlinks: too many links' : reason),
  'files.notADirectory': () => 'extraction point is not a directory',
  'files.unknownUser': ({ user, file, why }) =>
    `failed to look up user "${user}" in container: ${why === 'noEntry' ? `no matching entries in ${file} file` : `read /etc/${file}: is a directory`}`,
  'files.tooMany': null,
  'files.tooLate': null,

  'archive.outside': ({ part, name }) => `invalid ${part} "${name}"`,
  'archive.cut': () => 'unexpected EOF',
  'archive.badChanges': null,
  'archive.noEnd': null,
  'archive.damaged': () => 'archive/tar: invalid tar header',
  'archive.entryFailed': ({ step, entry, reason }) =>
    step === 'owner'
      ? `failed to Lchown "${entry.name}" for UID ${entry.uid}, GID ${entry.gid}: lchownat ${entry.name}: ${reason}`
      : `${making(entry)}${reason}`,
  'archive.keepsKind': ({ directory, path, destination }) =>
    directory
      ? `cannot overwrite directory "${path}" with non-directory "${destination}"`
      : `cannot overwrite non-directory "${path}" with directory "${destination}"`,

  'disk.unreadable': null,
  'disk.refused': null,
  'disk.foreignParent': null,
  'disk.givenUp': null,
  'disk.closing': null,

  'layer.notFound': null,
  'layer.noParent': null,
  'layer.noRecipe': null,
  'layer.damaged': null,
  'layer.isParent': null,
  'layer.noBlob': null,
  'layer.inUse': null,

  'volume.notFound': ({ volume }) => `get ${volume}: no such volume`,
  'volume.inUse': ({ volume }) => `remove ${volume}: volume is in use`,
  'volume.diskInUse': null,
  'volume.heldByReader': null,
  'volume.held': null,
  'volume.tooManyClients': null,
  'volume.notServed': null,
  'volume.memoryInUse': null,
  'volume.noStore': ({ store }) => `No volume store named (${store}) exists`,
  'volume.notMounted': null,
  'volume.noAddress': ({ volume, host, reason }) =>
    `error while mounting volume '${volume}': failed to mount local volume: error resolving passed in network volume address: lookup ${host}: ${reason}`,
  'volume.tooMany': null,
  'volume.badCapacity': null,
  'volume.noRoom': null,
  'volume.hasSnapshots': null,
  'volume.noSnapshot': null,
  'volume.snapshotExists': null,
  'volume.badSnapshotName': null,
  'volume.tooManyPoints': null,
  'volume.shrunk': null,
  'volume.otherStore': null,
  'volume.noDisk': null,
  'volume.nfsFailed': null,
  'volume.nfsName': null,
  'volume.nfsNoCapacity': ({ volume }) => `create ${volume}: quota size requested but no quota support`,
  'volume.nfsStore': null,
  'volume.nfsMount': null,
  'volume.badArchive': null,
  'volume.exists': null,
  'volume.notStill': null,
  'volume.thawed': null,
  'volume.badContent': ({ path, why }) => badContent(path, why),

  'storage.full': null,
  'storage.reserved': null,
  'storage.quota': null,
  'storage.allQuota': null,
  'storage.badQuota': null,
  'storage.badReserve': null,

  'network.notFound': ({ network }) => `network ${network} not found`,
  'network.gone': ({ network }) => `${NOT_SET_UP}network ${network} not found`,
  'network.tooMany': ({ most }) => `Container cannot be connected to network endpoints: more than ${most} networks`,
  'network.givenTwice': ({ network }) =>
    `Container cannot be connected to network endpoints: network ${network} is given twice`,
  'network.noAddress': ({ subnet, family, starting }) =>
    `${starting === true ? NOT_SET_UP : ''}no available IPv${family} addresses on this network's address pools: ${subnet}`,
  'network.foreignAddress': null,
  'network.addressInUse': ({ starting }) => `${starting === true ? NOT_SET_UP : ''}Address already in use`,
  'network.ambiguous': ({ prefix, matches, by }) =>
    `network ${prefix} is ambiguous (${matches} matches found ${by === 'name' ? 'based on name' : 'on ID prefix'})`,
  'network.nameTaken': ({ name }) => `network with name ${name} already exists`,
  'network.predefined': ({ network, doing }) =>
    doing === 'create'
      ? `operation is not permitted on predefined ${network} network`
      : `${network} is a pre-defined network and cannot be removed`,
  'network.inUse': ({ network, holders }) =>
    `error while removing network: network ${network} has active endpoints (${holders.map(({ name, id }) => `name:${JSON.stringify(name)} id:"${id.slice(0, 12)}"`).join(', ')})`,
  'network.noFamily': () => 'IPv4 or IPv6 must be enabled',
  'network.badConfig': ({ problems }) => `invalid network config:\n${problems.join('\n')}`,
  'network.overlap': () => 'invalid pool request: Pool overlaps with other one on this address space',
  'network.noPoolLeft': () => 'all predefined address pools have been fully subnetted',
  'network.reservedInUse': ({ address, of }) =>
    of === 'gateway'
      ? `failed to allocate gateway (${address}): Address already in use`
      : `failed to allocate secondary ip address (${of.aux}:${address}): Address already in use`,
  'network.addressRefused': ({ address, why }) => `invalid endpoint settings:\n${addressRefused(why, address)}`,
  'network.alreadyOn': ({ container, network }) =>
    `endpoint with name ${container} already exists in network ${network}`,
  'network.notOn': ({ container, network }) => `container ${container} is not connected to network ${network}`,
  'network.paused': ({ container, doing }) =>
    `Container ${container} is paused, unpause the container before you ${doing} it`,
  'network.notConnected': null,
  'network.noRelay': null,
  'network.notMade': null,
  'network.noConfiguration': ({ network }) => `configuration network ${JSON.stringify(network)} does not exist`,
  'network.configurationInUse': ({ network }) =>
    `error while removing network: configuration network ${JSON.stringify(network)} is in use`,
  'network.onlyConfiguration': ({ starting }) =>
    `${starting === true ? NOT_SET_UP : ''}cannot create endpoint on configuration-only network`,
  'network.segmentTaken': ({ segment, id, other }) =>
    `cannot create network ${id} (${segment}): conflicts with network ${other} (${segment}): networks have same bridge name`,

  'endpoint.noVm': null,
  'target.noDatacenter': null,
  'target.noDatastore': null,
  'target.noFileManager': null,
  'target.noFile': null,
};

/** What the daemon puts before what keeps a container's networks from it at its start. */
const NOT_SET_UP = 'failed to set up container networking: ';
/** What runc and the daemon put before the cause, and clients look for. */
const START_FAILED =
  'failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: ';
const EXEC_FAILED = 'OCI runtime exec failed: exec failed: ';
const UNABLE = 'unable to start container process: ';
const MOUNT_HINT =
  ': Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type';

function containerNotStarted(reason: string): string {
  // The daemon makes the working directory itself, before it calls runc.
  const directory = /^mkdir (.*): not a directory$/i.exec(reason)?.[1];
  if (directory !== undefined) return `Cannot mkdir: ${directory} is not a directory`;
  // Docker mounts volumes before it calls runc.
  if (reason.startsWith('error while mounting volume ')) return reason;
  const hint = /^exec: .*: not a directory$/s.test(reason) ? MOUNT_HINT : '';
  return `${START_FAILED}${UNABLE}${reason}${hint}`;
}

function badEnvironment(problem: ErrorSubject<'process.badEnvironment'>['problem'], entry: string): string {
  const quoted = JSON.stringify(entry).replaceAll('\\u0000', '\\x00');
  return problem === 'noName'
    ? `environment variable name can't be empty: ${quoted}`
    : `environment variable value can't contain null(\\x00): ${quoted}`;
}

function beingRemoved(hinders: RemovalHinders, container: string): string {
  switch (hinders) {
    case 'remove':
      return `removal of container ${container} is already in progress`;
    case 'update':
      return 'Container is marked for removal and cannot be "update".';
    case 'attach':
      return `container ${container} is marked for removal and cannot be attached`;
    case 'files':
      return `container ${container} is being removed`;
  }
}

function making({ type, name, linkName }: ArchiveEntry): string {
  switch (type) {
    case 'file':
      return `openat ${name}: `;
    case 'directory':
      return `mkdirat ${name}: `;
    case 'link':
      return `linkat ${linkName} ${name}: `;
    case 'symlink':
      return `symlinkat ${linkName} ${name}: `;
    default:
      return '';
  }
}

function badContent(path: string, why: ErrorSubject<'volume.badContent'>['why']): string {
  switch (why) {
    case 'tooManyLinks':
      return `evalSymlinksInScope: too many links in ${path}`;
    case 'belowAFile':
      return `lstat ${path}: not a directory`;
    case 'notADirectory':
      return `source ${path} is not directory`;
  }
}

function addressRefused(why: ErrorSubject<'network.addressRefused'>['why'], address: string): string {
  switch (why) {
    case 'predefined':
      return 'user specified IP address is supported on user defined networks only';
    case 'chosenSubnets':
      return 'user specified IP address is supported only when connecting to networks with user configured subnets';
    case 'outside':
      return `no configured subnet or ip-range contain the IP address ${address}`;
  }
}
