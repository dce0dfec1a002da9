/** The bodies of `POST /containers/create` and `/exec`, with all fields that Docker has: checked once, here. Others are passed over, as in Docker. */
import { z } from 'zod';
import { duration, goType, int, int64, nothing, strSlice, uint, uint16 } from '../../../../src/common/go-json.js';

const text = z.string().nullish();
const texts = z.array(z.string()).nullish();
/** Old clients send a list as one text. */
const command = strSlice.nullish();
const bool = z.boolean().nullish();
/** Nanoseconds. */
const time = duration.nullish();
/** Bytes, counts, times: no fractions. */
const whole = int64.nullish();
const words = z.record(z.string(), z.string()).nullish();
const emptySet = z.record(z.string(), nothing).nullish();
/** A text whose type has a name of its own. */
const named = (name: string) => goType(name, z.string()).nullish();

export const portBindings = z.record(
  z.string(),
  goType(
    '[]nat.PortBinding',
    z.array(goType('nat.PortBinding', z.object({ HostIp: z.string().optional(), HostPort: z.string().optional() }))),
  ).nullable(),
);

const mountSchema = goType(
  'mount.Mount',
  z.object({
    Type: named('mount.Type'),
    Source: text,
    Target: text,
    ReadOnly: bool,
    Consistency: named('mount.Consistency'),
    BindOptions: goType(
      'mount.BindOptions',
      z.object({
        Propagation: named('mount.Propagation'),
        NonRecursive: bool,
        CreateMountpoint: bool,
        ReadOnlyNonRecursive: bool,
        ReadOnlyForceRecursive: bool,
      }),
    ).nullish(),
    ImageOptions: goType('mount.ImageOptions', z.object({ Subpath: text })).nullish(),
    VolumeOptions: goType(
      'mount.VolumeOptions',
      z.object({
        NoCopy: bool,
        Labels: words,
        DriverConfig: goType('mount.Driver', z.object({ Name: text, Options: words })).nullish(),
        Subpath: text,
      }),
    ).nullish(),
    TmpfsOptions: goType(
      'mount.TmpfsOptions',
      z.object({
        SizeBytes: whole,
        Mode: goType('os.FileMode', z.number().max(0o7777)).nullish(),
        Options: z.array(z.array(z.string())).nullish(),
      }),
    ).nullish(),
    ClusterOptions: goType('mount.ClusterOptions', z.object({})).nullish(),
  }),
);

/** One of `HostConfig.Mounts`. */
export type MountRequest = z.infer<typeof mountSchema>;

const weights = z.array(goType('blkiodev.WeightDevice', z.object({ Path: text, Weight: uint16.nullish() }))).nullish();
const rates = z
  .array(goType('blkiodev.ThrottleDevice', z.object({ Path: text, Rate: goType('uint64', z.number()).nullish() })))
  .nullish();
const devices = z
  .array(
    goType('container.DeviceMapping', z.object({ PathOnHost: text, PathInContainer: text, CgroupPermissions: text })),
  )
  .nullish();
const deviceRequests = z
  .array(
    goType(
      'container.DeviceRequest',
      z.object({
        Driver: text,
        Count: int.nullish(),
        DeviceIDs: texts,
        Capabilities: z.array(z.array(z.string())).nullish(),
        Options: words,
      }),
    ),
  )
  .nullish();

export const hostConfigSchema = goType(
  'container.HostConfig',
  z.object({
    ContainerIDFile: text,
    NetworkMode: named('container.NetworkMode'),
    PortBindings: goType('nat.PortMap', portBindings).nullish(),
    PublishAllPorts: bool,
    AutoRemove: bool,
    Memory: whole,
    MemorySwap: whole,
    MemoryReservation: whole,
    NanoCpus: whole,
    CpuCount: whole,
    CpuPercent: whole,
    CpuPeriod: whole,
    CpuQuota: whole,
    CpuRealtimePeriod: whole,
    CpuRealtimeRuntime: whole,
    PidsLimit: whole,
    CpusetCpus: text,
    Cgroup: named('container.CgroupSpec'),
    CgroupParent: text,
    Dns: texts,
    DnsOptions: texts,
    DnsSearch: texts,
    ExtraHosts: texts,
    GroupAdd: texts,
    ShmSize: whole,
    Sysctls: words,
    Ulimits: z.array(goType('units.Ulimit', z.object({ Name: z.string(), Soft: int64, Hard: int64 }))).nullish(),
    ReadonlyRootfs: bool,
    Init: bool,
    Privileged: bool,
    /** Of 1.40 alone. */
    Capabilities: texts,
    /** Before 1.42. */
    KernelMemory: whole,
    /** Of 1.40 to 1.51. */
    KernelMemoryTCP: whole,
    CapAdd: command,
    CapDrop: command,
    SecurityOpt: texts,
    MaskedPaths: texts,
    ReadonlyPaths: texts,
    Links: texts,
    Binds: texts,
    Mounts: z.array(mountSchema).nullish(),
    VolumesFrom: texts,
    VolumeDriver: text,
    Tmpfs: words,
    CpuShares: whole,
    CpusetMems: text,
    BlkioWeight: uint16.nullish(),
    BlkioWeightDevice: weights,
    BlkioDeviceReadBps: rates,
    BlkioDeviceWriteBps: rates,
    BlkioDeviceReadIOps: rates,
    BlkioDeviceWriteIOps: rates,
    IOMaximumIOps: goType('uint64', z.number()).nullish(),
    IOMaximumBandwidth: goType('uint64', z.number()).nullish(),
    MemorySwappiness: whole,
    OomKillDisable: bool,
    OomScoreAdj: int.nullish(),
    StorageOpt: words,
    Annotations: words,
    /** Since 1.56; what is not said is the usual one, which 0 is not. */
    Umask: goType('uint32', z.number().int().min(0).max(0xffffffff)).nullish(),
    IpcMode: named('container.IpcMode'),
    PidMode: named('container.PidMode'),
    UTSMode: named('container.UTSMode'),
    UsernsMode: named('container.UsernsMode'),
    CgroupnsMode: named('container.CgroupnsMode'),
    Isolation: named('container.Isolation'),
    Runtime: text,
    Devices: devices,
    DeviceCgroupRules: texts,
    DeviceRequests: deviceRequests,
    RestartPolicy: goType(
      'container.RestartPolicy',
      z.object({
        Name: goType('container.RestartPolicyMode', z.string()).optional(),
        MaximumRetryCount: int.optional(),
      }),
    ).nullish(),
    LogConfig: goType('container.LogConfig', z.object({ Type: z.string().optional(), Config: words })).nullish(),
    ConsoleSize: z.tuple([uint, uint]).nullish(),
  }),
);

export const endpointSchema = goType(
  'network.EndpointSettings',
  z.object({
    IPAMConfig: goType(
      'network.EndpointIPAMConfig',
      z.object({ IPv4Address: text, IPv6Address: text, LinkLocalIPs: texts }),
    ).nullish(),
    Links: texts,
    Aliases: texts,
    MacAddress: text,
    DriverOpts: words,
    GwPriority: int.nullish(),
    NetworkID: text,
    EndpointID: text,
    Gateway: text,
    IPAddress: text,
    IPPrefixLen: int.nullish(),
    IPv6Gateway: text,
    GlobalIPv6Address: text,
    GlobalIPv6PrefixLen: int.nullish(),
    DNSNames: texts,
  }),
);

export const createSchema = goType(
  'container.CreateRequest',
  z.object({
    Hostname: text,
    Domainname: text,
    User: text,
    AttachStdin: bool,
    AttachStdout: bool,
    AttachStderr: bool,
    ExposedPorts: goType('nat.PortSet', z.record(z.string(), nothing)).nullish(),
    Tty: bool,
    OpenStdin: bool,
    StdinOnce: bool,
    Env: texts,
    Cmd: command,
    Entrypoint: command,
    Image: text,
    Volumes: emptySet,
    WorkingDir: text,
    ArgsEscaped: bool,
    NetworkDisabled: bool,
    MacAddress: text,
    OnBuild: texts,
    Labels: words,
    StopSignal: text,
    StopTimeout: int.nullish(),
    Shell: command,
    Healthcheck: goType(
      'container.HealthConfig',
      z.object({
        Test: texts,
        Interval: time,
        Timeout: time,
        StartPeriod: time,
        StartInterval: time,
        Retries: int.nullish(),
      }),
    ).nullish(),
    HostConfig: hostConfigSchema.nullish(),
    NetworkingConfig: goType(
      'network.NetworkingConfig',
      z.object({ EndpointsConfig: z.record(z.string(), endpointSchema.nullable()).nullish() }),
    ).nullish(),
  }),
);

export const execSchema = goType(
  'container.ExecOptions',
  z.object({
    AttachStdin: bool,
    AttachStdout: bool,
    AttachStderr: bool,
    DetachKeys: text,
    Tty: bool,
    Env: texts,
    Cmd: texts,
    Privileged: bool,
    User: text,
    WorkingDir: text,
    ConsoleSize: z.tuple([uint, uint]).nullish(),
  }),
);

export const execStartSchema = goType(
  'container.ExecStartOptions',
  z.object({ Detach: bool, Tty: bool, ConsoleSize: z.tuple([uint, uint]).nullish() }),
);

export type CreateBody = z.infer<typeof createSchema>;
export type HostConfig = z.infer<typeof hostConfigSchema>;
