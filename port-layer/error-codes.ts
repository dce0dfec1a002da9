/**
 * Everything that can go wrong in the port layer: all codes, each with its kind and its message. The message is plain English for logs.
 * Where Docker has no sentence of its own, users see it too.
 */
import type { ErrorKind } from '../src/common/errors.js';
import { humanSize } from '../src/common/human-size.js';

const code = <S>(
  kind: ErrorKind,
  message: (subject: S) => string,
): { kind: ErrorKind; message: (subject: S) => string } => ({
  kind,
  message,
});

/** The subject of errors that need none. */
type Nothing = Record<never, never>;

/** What an error is about. */
interface ById {
  container: string;
}

/** The operation that a removal in progress rules out. */
export type RemovalHinders = 'remove' | 'update' | 'attach' | 'files';

/** A process that could not be started: a container's first one, or an exec's. */
interface NotStarted {
  of: 'container' | 'exec';
  /** 127 not found, 126 not executable, 128 anything else: the docker CLI exits with it. */
  exitCode: number;
}

const BEING_REMOVED: Record<RemovalHinders, string> = {
  remove: 'cannot be removed twice',
  update: 'cannot be updated',
  attach: 'cannot be attached to',
  files: 'has no files to show',
};

/** All codes, each with its kind and its message; the message's parameter is the type of the subject. */
export const CODES = {
  // --- containers
  'container.notFound': code('notFound', (s: { reference: string }) => `there is no container '${s.reference}'`),
  'container.ambiguous': code('conflict', (s: { prefix: string }) => `several container ids begin with ${s.prefix}`),
  'container.nameTaken': code(
    'conflict',
    (s: { name: string; holder: string }) => `the name '${s.name}' belongs to container ${s.holder}`,
  ),
  'container.alreadyRunning': code('notModified', (s: ById) => `container ${s.container} already runs`),
  'container.alreadyStopped': code('notModified', (s: ById) => `container ${s.container} is already stopped`),
  'container.notRunning': code('conflict', (s: ById) => `container ${s.container} does not run`),
  /** Its disk is replaced only before its first start. */
  'container.hasRun': code(
    'conflict',
    (s: ById) => `container ${s.container} was started already: its files cannot be restored`,
  ),
  /** A running container is only removed by force. */
  'container.stillRunning': code(
    'conflict',
    (s: ById & { name: string }) => `container ${s.container} runs, and is removed only by force`,
  ),
  'container.beingRemoved': code(
    'conflict',
    (s: ById & { hinders: RemovalHinders }) =>
      `container ${s.container} is being removed: it ${BEING_REMOVED[s.hinders]}`,
  ),
  'container.alreadyPaused': code('conflict', (s: ById) => `container ${s.container} is paused already`),
  'container.notPaused': code('unavailable', (s: ById) => `container ${s.container} is not paused`),
  /** Its processes could not be frozen, so its guest cannot be asked without letting them run. */
  'container.suspendedOnly': code(
    'conflict',
    (s: ById) => `container ${s.container} was paused by suspending its VM alone: its guest cannot be asked`,
  ),
  /** The host holds its VM until somebody answers a question, for example about a full datastore. */
  'container.standsStill': code('conflict', (s: { reason: string }) => `${s.reason}: the container stands still`),
  'container.heldByHost': code(
    'conflict',
    (s: ById & { reason: string }) => `container ${s.container} is held by its host: ${s.reason}`,
  ),
  /** It ended while a request was in progress. */
  'container.stopped': code('conflict', (_: Nothing) => 'the container has stopped'),
  'container.specTooLarge': code(
    'invalid',
    (_: Nothing) => "the container's configuration is too large: give it fewer variables or labels",
  ),
  'container.logsNotKept': code('unsupported', (s: ById) => `the output of container ${s.container} is not kept`),
  'container.rootReadOnly': code('invalid', (s: ById) => `the root of container ${s.container} is read-only`),
  'container.volumeReadOnly': code(
    'invalid',
    (s: ById & { volume: string }) => `volume ${s.volume} is mounted read-only in container ${s.container}`,
  ),

  // --- starting processes
  'start.beingRemoved': code('conflict', (_: Nothing) => 'the container is being removed and cannot be started'),
  'start.tooLate': code('timeout', (_: Nothing) => 'the container VM does not start its process in time'),
  'start.poweredOff': code('internal', (_: Nothing) => 'container VM has unexpectedly powered off'),
  /** What the caller prepares before a start has failed, and it names the exit code that the start is to end with. */
  'start.notPrepared': code('invalid', (s: { exitCode: number; reason: string }) => s.reason),
  /** The reason is the guest's. */
  'process.notStarted': code(
    'invalid',
    (s: NotStarted & { reason: string }) => `the ${s.of}'s process cannot be started: ${s.reason}`,
  ),
  'process.unknownUser': code('invalid', (s: NotStarted & { reason: string }) => s.reason),
  'process.badEnvironment': code(
    'invalid',
    (s: NotStarted & { problem: 'noName' | 'nul'; entry: string }) =>
      `the ${s.of}'s environment has an entry ${s.problem === 'nul' ? 'with a NUL byte' : 'without a name'}: ${JSON.stringify(s.entry)}`,
  ),
  'exec.relativeDirectory': code(
    'invalid',
    (s: NotStarted & { directory: string }) => `the working directory '${s.directory}' is not an absolute path`,
  ),

  // --- execs
  'exec.notFound': code('notFound', (s: { exec: string }) => `there is no exec ${s.exec}`),
  'exec.noCommand': code('invalid', (_: Nothing) => 'the exec has no command'),
  'exec.alreadyRunning': code('conflict', (s: { exec: string }) => `exec ${s.exec} already runs`),
  'exec.alreadyRun': code('conflict', (s: { exec: string }) => `exec ${s.exec} has run already`),
  'exec.notStarted': code('conflict', (s: { exec: string }) => `exec ${s.exec} was not started`),
  'exec.ended': code('notFound', (s: { exec: string }) => `exec ${s.exec} has ended`),
  'exec.tooLate': code('timeout', (s: { exec: string }) => `exec ${s.exec} was not started in time`),

  // --- the guest
  'guest.silent': code(
    'timeout',
    (s: { what: string; seconds: number }) =>
      `the container VM does not answer: ${s.what} was given up after ${s.seconds} s`,
  ),
  'guest.brokeProtocol': code('unavailable', (s: { how: string }) => `the guest broke the protocol: ${s.how}`),
  'guest.notConnected': code('unavailable', (_: Nothing) => 'the container VM does not connect its channel'),
  'guest.refusedLimits': code('invalid', (s: { reason: string }) => s.reason),
  'guest.refusedFreeze': code('unavailable', (s: { reason: string }) => s.reason),
  /** A card, a route or a file could not be changed while the container runs. */
  'guest.refusedNetwork': code('unavailable', (s: { reason: string }) => s.reason),
  'guest.tooOld': code(
    'unavailable',
    (_: Nothing) =>
      'an older version has started the container, and its VM cannot change its networks: stop and start the container',
  ),
  /** It cannot let others mount a volume. */
  'guest.refusedServing': code('unavailable', (s: { reason: string }) => s.reason),
  'guest.tooOldToServe': code(
    'unavailable',
    (_: Nothing) =>
      'an older version has started the container, and its VM cannot share its volumes: stop and start the container',
  ),
  /** A file server or an observer could not be started. */
  'guest.noHelper': code('conflict', (s: { reason: string }) => s.reason),

  // --- files
  'files.notFound': code(
    'notFound',
    (s: ById & { path: string }) => `there is no file ${s.path} in container ${s.container}`,
  ),
  /** An operation failed; the reason is the system's. */
  'files.failed': code(
    'unavailable',
    (s: { operation: string; path: string; reason: string }) => `${s.operation} ${s.path}: ${s.reason}`,
  ),
  'files.unresolved': code(
    'unavailable',
    (s: { path: string; reason: string; tooManyLinks: boolean }) => `${s.path} leads nowhere: ${s.reason}`,
  ),
  'files.notADirectory': code('invalid', (s: { path: string }) => `${s.path} is not a directory`),
  'files.unknownUser': code(
    'invalid',
    (s: { user: string; file: 'passwd' | 'group'; why: 'noEntry' | 'notAFile' }) =>
      `user '${s.user}': /etc/${s.file} ${s.why === 'noEntry' ? 'does not have it' : 'is not a file'}`,
  ),
  'files.tooMany': code('unavailable', (_: Nothing) => 'the container has more files than can be told of at once'),
  'files.tooLate': code(
    'timeout',
    (s: { what: string; seconds: number }) => `${s.what} was given up after ${s.seconds} s`,
  ),

  // --- archives that are unpacked into a container
  'archive.outside': code(
    'unavailable',
    (s: { part: 'entry name' | 'hardlink target'; name: string }) =>
      `the archive has the ${s.part} '${s.name}', which leads out of where it is unpacked`,
  ),
  'archive.cut': code('unavailable', (_: Nothing) => 'the archive ends in the middle of an entry'),
  'archive.badChanges': code(
    'invalid',
    (s: { reason: string }) => `these are no changes of a container's files: ${s.reason}`,
  ),
  'archive.noEnd': code('unavailable', (_: Nothing) => 'the archive has no end mark, so a part of it may be missing'),
  'archive.damaged': code('unavailable', (_: Nothing) => 'the archive is damaged'),
  'archive.entryFailed': code(
    'unavailable',
    (s: { step: 'make' | 'owner'; entry: ArchiveEntry; reason: string }) => `${s.entry.name}: ${s.reason}`,
  ),
  /** Something was not to be replaced by something of another kind. */
  'archive.keepsKind': code(
    'unavailable',
    (s: { directory: boolean; path: string; destination: string }) =>
      `${s.path} is ${s.directory ? 'a' : 'not a'} directory and stays so`,
  ),

  // --- disks
  'disk.unreadable': code(
    'unavailable',
    (s: { what: string; doing: string; reason: string }) =>
      `the filesystem of ${s.what} cannot be ${s.doing}: ${s.reason}`,
  ),
  'disk.refused': code('unavailable', (s: { reason: string }) => s.reason),
  'disk.foreignParent': code(
    'unavailable',
    (s: { path: string }) => `it names ${s.path} as its parent, which is not the layer it stands on`,
  ),
  'disk.givenUp': code(
    'unavailable',
    (s: { reason: string }) => `the files of a disk are not read or written any more: ${s.reason}`,
  ),
  'disk.closing': code('unavailable', (_: Nothing) => 'the engine is stopping'),

  // --- layers
  'layer.notFound': code('notFound', (s: { layer: string | null }) => `layer ${s.layer} is not stored`),
  'layer.noParent': code('internal', (s: { layer: string }) => `the parent layer ${s.layer} is not stored`),
  'layer.noRecipe': code(
    'unsupported',
    (s: { layer: string }) => `layer ${s.layer} was stored by an earlier version, without what its tar is made from`,
  ),
  'layer.damaged': code(
    'internal',
    (s: { layer: string; digest: string; diffId: string }) =>
      `layer ${s.layer} is damaged: its tar has the digest ${s.digest} instead of ${s.diffId}`,
  ),
  'layer.isParent': code(
    'conflict',
    (s: { layer: string; child: string }) => `layer ${s.layer} is the parent of ${s.child}`,
  ),
  'layer.noBlob': code('notFound', (s: { layer: string }) => `what layer ${s.layer} was pulled as is not kept`),
  'layer.inUse': code('conflict', (s: { layer: string }) => `layer ${s.layer} is in use by a container`),

  // --- volumes
  'volume.notFound': code('notFound', (s: { volume: string }) => `there is no volume '${s.volume}'`),
  'volume.inUse': code('conflict', (s: { volume: string }) => `volume '${s.volume}' is in use`),
  /** The host cannot serve a volume to several machines. */
  'volume.diskInUse': code(
    'conflict',
    (s: ById & { volume: string; name: string }) =>
      `volume "${s.volume}" is in use by container ${s.name} (${s.container.slice(0, 12)}): a volume on a virtual disk can be written to by one running container at a time`,
  ),
  /** Containers that only read have its disk, or one has it that keeps this endpoint from it. */
  'volume.heldByReader': code(
    'conflict',
    (s: ById & { volume: string; name: string }) =>
      `volume "${s.volume}" is in use by container ${s.name} (${s.container.slice(0, 12)}), which only reads it and would not see what others write: start those that write first`,
  ),
  'volume.held': code(
    'conflict',
    (s: ById & { volume: string; name: string }) =>
      `volume "${s.volume}" is in use by container ${s.name} (${s.container.slice(0, 12)})`,
  ),
  'volume.tooManyClients': code(
    'conflict',
    (s: { volume: string }) => `volume "${s.volume}" is in use by as many running containers as can share one`,
  ),
  'volume.notServed': code(
    'unavailable',
    (s: { volume: string; reason: string }) =>
      `volume "${s.volume}" is in use by another container and cannot be shared with it: ${s.reason}`,
  ),
  /** The same for a volume in memory. */
  'volume.memoryInUse': code(
    'conflict',
    (s: ById & { volume: string; name: string }) =>
      `volume "${s.volume}" is in use by container ${s.name} (${s.container.slice(0, 12)}): a volume in memory is in that of one virtual machine, where another container would not find it`,
  ),
  'volume.noStore': code('notFound', (s: { store: string }) => `there is no volume store '${s.store}'`),
  'volume.notMounted': code(
    'conflict',
    (s: { volume: string }) =>
      `volume '${s.volume}' is not on a disk: it can be reached only through a running container that has it mounted`,
  ),
  'volume.noAddress': code(
    'unavailable',
    (s: { volume: string; host: string; reason: string }) =>
      `the address of volume '${s.volume}' cannot be found: lookup ${s.host}: ${s.reason}`,
  ),
  'volume.tooMany': code(
    'invalid',
    (s: { most: number; wanted: number }) =>
      `a container's virtual machine can have ${s.most} volumes, not ${s.wanted}`,
  ),
  'volume.badCapacity': code(
    'invalid',
    (s: { bytes: number | bigint | string }) => `a volume's capacity is from 8 MiB to 2 TiB, not ${s.bytes} bytes`,
  ),
  'volume.noRoom': code(
    'insufficientResources',
    (s: { volume: string; reason: string }) => `volume ${s.volume}: ${s.reason}`,
  ),
  'volume.hasSnapshots': code(
    'conflict',
    (s: { volume: string; snapshots: string }) =>
      `volume ${s.volume} has snapshots: ${s.snapshots}; remove them first: vic-machine volume snapshot --remove`,
  ),
  'volume.noSnapshot': code(
    'notFound',
    (s: { volume: string; snapshot: string }) => `volume ${s.volume} has no snapshot '${s.snapshot}'`,
  ),
  'volume.snapshotExists': code(
    'conflict',
    (s: { volume: string; snapshot: string }) => `volume ${s.volume} has a snapshot '${s.snapshot}' already`,
  ),
  'volume.badSnapshotName': code(
    'invalid',
    (s: { name: string }) =>
      `"${s.name}" cannot name a snapshot: 1 to 64 letters, digits, '_', '.' and '-', the first one a letter or digit`,
  ),
  'volume.tooManyPoints': code(
    'conflict',
    (s: { volume: string; most: number }) =>
      `the disk of volume ${s.volume} stands on ${s.most} others, which is the most: export it, and import it into a new volume`,
  ),
  'volume.shrunk': code(
    'invalid',
    (s: { volume: string; present: number; wanted: number }) =>
      `volume ${s.volume} would have ${s.wanted} bytes instead of ${s.present}: a volume can be made larger, but not smaller`,
  ),
  'volume.otherStore': code(
    'invalid',
    (s: { volume: string; source: string }) =>
      `volume ${s.volume} is a clone of ${s.source} and can only be in the same volume store`,
  ),
  'volume.noDisk': code(
    'unsupported',
    (s: { volume: string }) => `volume ${s.volume} has no disk: what is in it is not kept here`,
  ),
  /** @param server with the path */
  'volume.nfsFailed': code(
    'unavailable',
    (s: { volume: string; store: string; server: string; reason: string }) =>
      `${s.volume === '' ? '' : `volume ${s.volume}: `}the volume store ${s.store} on the NFS server ${s.server} cannot be used: ${s.reason}`,
  ),
  'volume.nfsName': code(
    'invalid',
    (s: { volume: string; most: number }) =>
      `the name of volume ${s.volume.slice(0, 40)}… is too long for an NFS volume store: ${s.most} characters are the most`,
  ),
  'volume.nfsNoCapacity': code(
    'invalid',
    (s: { volume: string; store: string }) =>
      `volume ${s.volume}: quota size requested but no quota support: the volume store ${s.store} is on an NFS server, whose volumes share its room`,
  ),
  'volume.nfsStore': code(
    'unsupported',
    (s: { store: string }) =>
      `the volume store ${s.store} is on an NFS server, where volumes are directories: nothing can be cloned or imported there`,
  ),
  'volume.nfsMount': code(
    'invalid',
    (s: { volume: string; store: string }) =>
      `volume ${s.volume}: the options type, device and o mean a mount of its own, which is not in the volume store ${s.store}`,
  ),
  'volume.badArchive': code(
    'invalid',
    (s: { volume: string; reason: string }) => `volume ${s.volume} cannot be made of this: ${s.reason}`,
  ),
  'volume.exists': code('conflict', (s: { volume: string }) => `there is a volume '${s.volume}' already`),
  /** It cannot be frozen. */
  'volume.notStill': code(
    'conflict',
    (s: { volume: string; reason: string }) =>
      `volume ${s.volume} is in use, and its filesystem cannot be frozen: ${s.reason}`,
  ),
  'volume.thawed': code(
    'unavailable',
    (s: { volume: string; seconds: number }) =>
      `volume ${s.volume} was not kept: it took more than ${s.seconds} s, and its filesystem cannot stay frozen longer`,
  ),
  /** The source of a new volume's content. */
  'volume.badContent': code(
    'unavailable',
    (s: { path: string; why: 'tooManyLinks' | 'belowAFile' | 'notADirectory' }) =>
      `the content for a new volume, ${s.path}: ${s.why === 'tooManyLinks' ? 'too many links' : 'not a directory'}`,
  ),

  // --- room
  'storage.full': code('insufficientResources', (_: Nothing) => 'no space left on device'),
  'storage.reserved': code(
    'insufficientResources',
    (s: { place: string; free: number; reserve: number }) =>
      `no space left on device: ${s.place} has ${humanSize(s.free)} free, of which ${humanSize(s.reserve)} are kept in reserve`,
  ),
  'storage.quota': code(
    'insufficientResources',
    (s: { most: number }) =>
      `no space left on device: images may take ${humanSize(s.most)} in all (disk quota exceeded)`,
  ),
  /** What images, containers and volumes may take together. */
  'storage.allQuota': code(
    'insufficientResources',
    (s: { most: number; used: number; wanted: number }) =>
      `no space left on device: images, containers and volumes take ${humanSize(s.used)} of the ${humanSize(s.most)} that they may in all, and ${humanSize(s.wanted)} more are needed (disk quota exceeded)`,
  ),
  'storage.badQuota': code('invalid', (s: { text: string }) => `'${s.text}' is no size, such as 20GiB`),
  'storage.badReserve': code(
    'invalid',
    (s: { text: string }) => `'${s.text}' is no part of a filesystem and no size, such as 5% or 2GiB`,
  ),

  // --- networks
  'network.notFound': code('notFound', (s: { network: string }) => `there is no network '${s.network}'`),
  /** A container's own network, when the container is started. */
  'network.gone': code('notFound', (s: { network: string }) => `a container's network '${s.network}' is gone`),
  'network.tooMany': code('invalid', (s: { most: number }) => `a container can be on ${s.most} networks`),
  'network.givenTwice': code('invalid', (s: { network: string }) => `the network '${s.network}' is given twice`),
  'network.noAddress': code(
    'insufficientResources',
    (s: { subnet: string; family: 4 | 6; starting?: true }) => `${s.subnet} has no free address`,
  ),
  'network.foreignAddress': code(
    'conflict',
    (s: { address: string; subnet: string }) => `${s.address} is not an address of ${s.subnet}`,
  ),
  /** `starting`: it is a container's start that fails by it. */
  'network.addressInUse': code(
    'forbidden',
    (s: { address: string; starting?: true }) => `the address ${s.address} is in use`,
  ),
  'network.ambiguous': code(
    'invalid',
    (s: { prefix: string; matches: number; by: 'name' | 'id' }) =>
      `${s.matches} networks have ${s.by === 'name' ? 'the name' : 'an id that begins with'} ${s.prefix}`,
  ),
  'network.nameTaken': code('conflict', (s: { name: string }) => `there is a network '${s.name}' already`),
  /** It is in the configuration. */
  'network.predefined': code(
    'forbidden',
    (s: { network: string; doing: 'create' | 'remove' }) =>
      `the network '${s.network}' is predefined: ${s.doing === 'create' ? 'no other can have its name' : 'it cannot be removed'}`,
  ),
  'network.inUse': code(
    'forbidden',
    (s: { network: string; holders: { name: string; id: string }[] }) =>
      `running containers are on the network '${s.network}': ${s.holders.map(({ name }) => name).join(', ')}`,
  ),
  'network.noFamily': code('invalid', (_: Nothing) => 'a network has IPv4, IPv6 or both'),
  /** Every problem is told. */
  'network.badConfig': code(
    'invalid',
    (s: { problems: string[] }) => `a network cannot be made like that: ${s.problems.join('; ')}`,
  ),
  'network.overlap': code('forbidden', (s: { subnet: string }) => `${s.subnet} overlaps with another network`),
  'network.noPoolLeft': code(
    'forbidden',
    (s: { family: 4 | 6 }) => `no subnet for IPv${s.family} is left in the default address pools`,
  ),
  /** An address that a network needs for itself cannot be had. `of`: the gateway, or the name of an auxiliary address. */
  'network.reservedInUse': code(
    'forbidden',
    (s: { address: string; of: 'gateway' | { aux: string } }) =>
      `${s.of === 'gateway' ? 'the gateway' : s.of.aux} cannot have ${s.address}: it is in use`,
  ),
  /** The network has nothing to do with the address. `why`: it chose its subnets itself; the address is in none of them. */
  'network.addressRefused': code(
    'invalid',
    (s: { network: string; address: string; why: 'chosenSubnets' | 'outside' | 'predefined' }) =>
      `nobody can ask for the address ${s.address} on the network '${s.network}'`,
  ),
  'network.alreadyOn': code(
    'forbidden',
    (s: { container: string; network: string }) => `container ${s.container} is on the network '${s.network}' already`,
  ),
  'network.notOn': code(
    'forbidden',
    (s: ById & { network: string }) => `container ${s.container} is not on the network '${s.network}'`,
  ),
  /** Its virtual machine is suspended, so that no card can be plugged in or out. */
  'network.paused': code(
    'conflict',
    (s: ById & { doing: 'connect' | 'disconnect' }) =>
      `container ${s.container} is paused, so it cannot be ${s.doing}ed`,
  ),
  /** Nothing was changed. */
  'network.notConnected': code(
    'unavailable',
    (s: ById & { network: string; doing: 'connect' | 'disconnect'; reason: string }) =>
      `${s.doing}ing container ${s.container} and network '${s.network}': ${s.reason}`,
  ),
  /** A network that others are to be made from does not exist. */
  'network.noConfiguration': code(
    'notFound',
    (s: { network: string }) => `there is no configuration of networks '${s.network}'`,
  ),
  'network.configurationInUse': code(
    'forbidden',
    (s: { network: string }) => `networks were made from the configuration '${s.network}'`,
  ),
  /** Nobody can be on it. `starting`: it is a container's start that fails by it. */
  'network.onlyConfiguration': code(
    'forbidden',
    (_: { starting?: true }) => 'the network is only a configuration of others',
  ),
  'network.segmentTaken': code(
    'forbidden',
    (s: { segment: string; network: string; id: string; other: string }) =>
      `the segment of the network '${s.network}' is called ${s.segment} already`,
  ),
  /** The host does not let the endpoint make port groups. */
  'network.noRelay': code(
    'unsupported',
    (_: Nothing) => 'this host is not the gateway of networks, so nothing relays for them',
  ),
  'network.notMade': code(
    'unavailable',
    (s: { network: string; reason: string }) => `the network '${s.network}' cannot be made: ${s.reason}`,
  ),

  // --- what answers vim25
  'endpoint.noVm': code<Nothing>('unavailable', () => 'the virtual machine of this endpoint is not known'),
  'target.noDatacenter': code(
    'invalid',
    (s: { datacenter: string }) => `the target has no datacenter '${s.datacenter}'`,
  ),
  'target.noDatastore': code('invalid', (s: { datastore: string }) => `there is no datastore ${s.datastore}`),
  'target.noFileManager': code('invalid', (_: Nothing) => 'the target has no file manager'),
  'target.noFile': code('notFound', (s: { path: string }) => `${s.path} is not on the datastore`),
};

/** An entry of an archive, as far as it matters for the error. */
export interface ArchiveEntry {
  type: string;
  name: string;
  linkName: string;
  uid: number;
  gid: number;
}
