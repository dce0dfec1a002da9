/**
 * The accepted differences from Docker Engine, each with its reason. docs/COMPATIBILITY.md is generated from this table. An entry that no
 * comparison needs any more fails the suite.
 */

/** A difference that is intended, or not done yet. */
export interface Accepted {
  /** What a user asks for or looks at. */
  what: string;
  docker: string;
  caisson: string;
  /** Why; {@link NOT_YET} for differences that are to go. */
  reason: string;
  /** On `<subject>/<case>#<step>`; default: everywhere. */
  where?: RegExp;
  /** On the path of the difference. */
  path: RegExp;
}

/** The reason for what is still to be done. */
export const NOT_YET = 'not done yet';

const VM = 'A container is a virtual machine with a kernel of its own.';
const NO_HOST_FILES = 'It is in the machine or in a datastore, not a file of the host.';
const OWN_ENGINE = 'It describes the engine.';
const ASKED_WRONG = 'An invalid value is the request’s fault: 400.';

const inspected = /^(inspect|ps|states|lifecycle|membership)\//;
const info = /^system\/info/;

export const ACCEPTED: Accepted[] = [
  {
    what: 'The `Server` header',
    docker: '`Docker/28.5.2 (linux)`',
    caisson: '`Docker/29.8.0+caisson.<version> (linux)`',
    reason: OWN_ENGINE,
    path: /^headers\.server$/,
  },
  {
    what: 'The newest version of the API',
    docker: '1.51',
    caisson: '1.56',
    reason: 'It is that of Docker Engine 29.8; requests in an older version are answered in that version.',
    path: /^headers\.api-version$|^body\.ApiVersion$/,
  },
  {
    what: 'The newest version that the refusal of a too new version names',
    docker: '`Maximum supported API version is 1.51`',
    caisson: '`Maximum supported API version is 1.56`',
    reason: 'It is that of Docker Engine 29.8.',
    where: /^system\/(versions that are not spoken#[234]|cli#0)$/,
    path: /^(body\.message|stdout)$/,
  },
  {
    what: '`/_ping`: `Builder-Version`',
    docker: '2',
    caisson: '1',
    reason: 'There is no BuildKit.',
    where: /^system\/ping/,
    path: /^headers\.builder-version$/,
  },
  {
    what: '`/version`: names and versions of components, build time, commit',
    docker: 'Engine, containerd, runc, docker-init',
    caisson: 'Engine, Caisson, vSphere, QEMU',
    reason: OWN_ENGINE,
    where: /^system\/version/,
    path: /^body\.(Platform\.Name|KernelVersion|Version|GitCommit|GoVersion|BuildTime|Components\[)/,
  },
  {
    what: '`/info`: driver, host, runtimes, security options, plugins, registry mirrors',
    docker: 'overlay2, runc, the host’s kernel',
    caisson: 'vmdk, vm, the vSphere host',
    reason: OWN_ENGINE,
    where: info,
    path: /^body\.(Name|ServerVersion|OperatingSystem|OSVersion|KernelVersion|DriverStatus|Driver$|Plugins|SecurityOptions|Runtimes|DefaultRuntime|InitBinary|RuncCommit|DockerRootDir|CDISpecDirs|RegistryConfig\.(Mirrors|IndexConfigs)|LiveRestoreEnabled)/,
  },
  {
    what: '`/info`: `Containerd`, `FirewallBackend`',
    docker: 'there',
    caisson: 'missing',
    reason: 'There is no containerd, and no firewall of the host is changed.',
    where: info,
    path: /^body\.(Containerd|FirewallBackend)/,
  },
  {
    what: '`/info`: the capabilities of the host’s control groups',
    docker: '`KernelMemory`, `CgroupDriver`, `CgroupVersion` as the host has them',
    caisson: 'those of the machine: version 2, no driver',
    reason: VM,
    where: info,
    path: /^body\.(KernelMemory|KernelMemoryTCP|CgroupDriver|CgroupVersion)$/,
  },
  {
    what: '`inspect`: `Driver`, `GraphDriver`',
    docker: 'overlay2 and its directories',
    caisson: 'vmdk; id and UUID of the virtual machine',
    reason: 'A container’s files are on a virtual disk.',
    where: inspected,
    path: /^body\.(Driver|GraphDriver\..*)$/,
  },
  {
    what: '`inspect`: `ResolvConfPath`, `HostnamePath`, `HostsPath`, `LogPath`',
    docker: 'paths on the host',
    caisson: "''",
    reason: NO_HOST_FILES,
    where: inspected,
    path: /^body\.(ResolvConfPath|HostnamePath|HostsPath|LogPath)$/,
  },
  {
    what: '`inspect`: `NetworkSettings.SandboxID`, `SandboxKey`',
    docker: 'a network namespace of the host',
    caisson: "''",
    reason: VM,
    where: inspected,
    path: /^body\.NetworkSettings\.Sandbox(ID|Key)$/,
  },
  {
    what: '`HostConfig.Runtime`',
    docker: 'runc',
    caisson: 'vm',
    reason: OWN_ENGINE,
    where: inspected,
    path: /^body\.HostConfig\.Runtime$/,
  },
  {
    what: '`HostConfig.CgroupnsMode` when it was not given',
    docker: 'host or private, depending on the version of the host’s control groups',
    caisson: 'private',
    reason: VM,
    where: inspected,
    path: /^body\.HostConfig\.CgroupnsMode$/,
  },
  {
    what: 'Invalid ports and other numbers in filters and queries',
    docker: '500',
    caisson: '400 or 409, with the same words',
    reason: ASKED_WRONG,
    where:
      /^(networks\/filters#24$|ps\/(filters|limits) that are none|errors\/states that do not allow it|system\/(auth|events that are past)|states\/(stop with a signal|restart|remove)#|images\/(pulls|tag and remove|save#1[45]$|what there is not#10$)|image-list\/(filters|references)#|image-change\/(tags|prune)#|logs\/of two streams|exec\/refused)/,
    path: /^status$/,
  },
  {
    what: 'Images: `GraphDriver`, `DockerVersion` of one that was committed',
    docker: 'overlay2 and its directories; the version of Docker',
    caisson: 'vmdk; nothing',
    reason: OWN_ENGINE,
    where: /^(images|image-views|files)\//,
    path: /^body\.(GraphDriver\..*|DockerVersion)$/,
  },
  {
    what: 'Images: `RepoDigests`',
    docker: 'none for an image that was only tagged',
    caisson: 'the digest of an image that was pulled',
    reason: 'The suite pulls with Caisson and tags with Docker.',
    where: /^images\//,
    path: /^body(\[0\])?\.RepoDigests/,
  },
  {
    what: 'Images: `Metadata.LastTagTime`',
    docker: 'when an image was tagged',
    caisson: 'never, for an image that was pulled',
    reason: 'The suite pulls with Caisson and tags with Docker.',
    where: /^images\/inspect#/,
    path: /^body\.Metadata\.LastTagTime$/,
  },
  {
    what: '`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, `/etc/mtab` in archives and exports',
    docker: 'empty files of mode 0755, made with the container',
    caisson: 'there once the container has run, of mode 0644',
    reason: 'The machine makes them when it starts.',
    where: /^files\/(archive of a container that never ran#(2|3)|changes#6)$/,
    path: /./,
  },
  {
    what: 'A pull or a tag without a name',
    docker: '500 with the words of a failed lookup; 200',
    caisson: '400, `invalid reference format`',
    reason: ASKED_WRONG,
    where: /^(images\/(pulls that fail#2|tag and remove#5)|image-change\/tags#[89])$/,
    path: /^(headers|body)/,
  },
  {
    what: 'An unknown stop signal or tmpfs option',
    docker: 'reported when the container is stopped or started',
    caisson: 'refused when the container is created',
    reason: ASKED_WRONG,
    where: /^options\/(life and logs, as they are kept#2[01]|privileges, as they are kept#2[89])$/,
    path: /./,
  },
  {
    what: '`stats` with `one-shot`: `name`, `id`',
    docker: 'missing',
    caisson: 'there, as in all other answers',
    reason: 'They do no harm.',
    where: /^states\/stats#3$/,
    path: /^body\.(name|id)$/,
  },
  {
    what: 'A command that is a directory',
    docker: '`permission denied` or `is a directory`, depending on the version of runc',
    caisson: '`is a directory`',
    reason: 'As newer versions of runc do.',
    where: /^run\/commands that are not there/,
    path: /^stderr$/,
  },
  {
    what: 'A program that the kernel refuses (`exec format error`, `argument list too long`): the exit code',
    docker: '1 or 255, depending on the version of runc',
    caisson: '255',
    reason: 'As newer versions of runc do.',
    where: /^first-process\//,
    path: /^(code|body\.State\.ExitCode)$/,
  },
  {
    what: 'Volumes: `Mountpoint`, and `Source` of a mount',
    docker: 'a directory of the host',
    caisson: 'the disk, `[datastore] path`',
    reason: NO_HOST_FILES,
    where: /^volume(s|-calls)\//,
    path: /^body(\.Mounts\[\d+\]\.Source|(\.Volumes\[\d+\])?\.Mountpoint)$/,
  },
  {
    what: '`-v /directory:…` and mounts of type `bind`',
    docker: 'mounts a directory of the host',
    caisson: '501 that says so',
    reason: 'A virtual machine sees no directories of its host: volumes are disks.',
    where: /^volumes\/directories of the host#/,
    path: /./,
  },
  {
    what: '`docker network create`: scopes other than `local` and `swarm`',
    docker: 'taken, without effect',
    caisson: '400',
    reason: ASKED_WRONG,
    where: /^networks\/bad names and drivers#(18|19|20|21)$/,
    path: /./,
  },
  {
    what: '`docker network create` with a gateway that is the network’s or the broadcast address',
    docker: '500',
    caisson: '403, with the same words',
    reason: ASKED_WRONG,
    where: /^networks\/bad subnets#2[24]$/,
    path: /^status$/,
  },
  {
    what: '`docker network create` with a subnet that contains another network’s, and a free IP range',
    docker: '`networks have overlapping IPv4`',
    caisson: '`Pool overlaps with other one on this address space`',
    reason: OWN_ENGINE,
    where: /^networks\/overlaps#4$/,
    path: /^body\.message$/,
  },
  {
    what: '`docker network create`: `Warning` about `-o com.docker.network.bridge.name` and `com.docker.network.` options that nobody knows',
    docker: "''",
    caisson: 'what the option does, or that it does nothing',
    reason: 'A network is no bridge of the machine.',
    where: /^networks\/options by name#/,
    path: /^body\.Warning$/,
  },
  {
    what: '`docker network connect` and `disconnect` of a paused container',
    docker: 'works',
    caisson: '409 that says so',
    reason: 'Its virtual machine is suspended: no card can be plugged in.',
    where: /^membership\/connect and disconnect while it is paused#/,
    path: /./,
  },
  {
    what: '`inspect`: `NetworkID` of a network that a container was connected to and has not been started on',
    docker: "''",
    caisson: 'its id',
    reason: 'A network that is made again under the same name is another one.',
    where: /^membership\/(connect and disconnect while it does not|none and others)#/,
    path: /\.NetworkID$/,
  },
];
