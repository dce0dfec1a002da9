/** The bodies of `POST /containers/create` and `/exec`: checked once, here. Unknown fields are kept for `inspect`. */
import { z } from 'zod';

const text = z.string().nullish();
const texts = z.array(z.string()).nullish();
/** Old clients send a command as one text. */
const command = z
  .union([z.array(z.string()), z.string().transform((value) => (value === '' ? [] : [value]))])
  .nullish();
/** Nanoseconds. */
const duration = z.number().nullish();
/** Bytes, counts, times: no fractions. */
const whole = z.number().int().nullish();
const emptySet = z.record(z.string(), z.unknown()).nullish();

export const portBindings = z.record(
  z.string(),
  z.array(z.object({ HostIp: z.string().optional(), HostPort: z.string().optional() })).nullable(),
);

const words = z.record(z.string(), z.string()).nullish();

const mountSchema = z.looseObject({
  Type: text,
  Source: text,
  Target: text,
  ReadOnly: z.boolean().nullish(),
  Consistency: text,
  BindOptions: z.looseObject({}).nullish(),
  ImageOptions: z.looseObject({}).nullish(),
  VolumeOptions: z
    .looseObject({
      NoCopy: z.boolean().nullish(),
      Labels: words,
      DriverConfig: z.looseObject({ Name: text, Options: words }).nullish(),
      Subpath: text,
    })
    .nullish(),
  TmpfsOptions: z
    .looseObject({
      SizeBytes: z.number().int().nullish(),
      Mode: z.number().int().min(0).max(0o7777).nullish(),
      Options: z.array(z.array(z.string())).nullish(),
    })
    .nullish(),
});

/** One of `HostConfig.Mounts`. */
export type MountRequest = z.infer<typeof mountSchema>;

export const hostConfigSchema = z.looseObject({
  NetworkMode: text,
  PortBindings: portBindings.nullish(),
  PublishAllPorts: z.boolean().nullish(),
  AutoRemove: z.boolean().nullish(),
  Memory: whole,
  MemorySwap: whole,
  MemoryReservation: whole,
  NanoCpus: whole,
  CpuPeriod: whole,
  CpuQuota: whole,
  PidsLimit: whole,
  CpusetCpus: text,
  Dns: texts,
  DnsOptions: texts,
  DnsSearch: texts,
  ExtraHosts: texts,
  GroupAdd: z.array(z.union([z.string(), z.number()]).transform(String)).nullish(),
  ShmSize: whole,
  Sysctls: z.record(z.string(), z.string()).nullish(),
  Ulimits: z.array(z.object({ Name: z.string(), Soft: z.number().int(), Hard: z.number().int() })).nullish(),
  ReadonlyRootfs: z.boolean().nullish(),
  Init: z.boolean().nullish(),
  Privileged: z.boolean().nullish(),
  CapAdd: texts,
  CapDrop: texts,
  SecurityOpt: texts,
  MaskedPaths: texts,
  ReadonlyPaths: texts,
  Links: texts,
  Binds: texts,
  Mounts: z.array(mountSchema).nullish(),
  VolumesFrom: texts,
  VolumeDriver: text,
  Tmpfs: z.record(z.string(), z.string()).nullish(),
  CpuShares: whole,
  CpusetMems: text,
  MemorySwappiness: whole,
  OomKillDisable: z.boolean().nullish(),
  OomScoreAdj: whole,
  StorageOpt: z.record(z.string(), z.string()).nullish(),
  Annotations: z.record(z.string(), z.string()).nullish(),
  IpcMode: text,
  PidMode: text,
  UTSMode: text,
  UsernsMode: text,
  CgroupnsMode: text,
  Isolation: text,
  Runtime: text,
  DeviceRequests: z
    .array(z.looseObject({ Driver: text, Capabilities: z.array(z.array(z.string())).nullish() }))
    .nullish(),
  RestartPolicy: z.object({ Name: z.string().optional(), MaximumRetryCount: z.number().optional() }).nullish(),
  LogConfig: z.object({ Type: z.string().optional(), Config: z.record(z.string(), z.string()).nullish() }).nullish(),
  ConsoleSize: z.tuple([z.number(), z.number()]).nullish(),
});

export const createSchema = z.looseObject({
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: z.boolean().nullish(),
  AttachStdout: z.boolean().nullish(),
  AttachStderr: z.boolean().nullish(),
  ExposedPorts: emptySet,
  Tty: z.boolean().nullish(),
  OpenStdin: z.boolean().nullish(),
  StdinOnce: z.boolean().nullish(),
  Env: texts,
  Cmd: command,
  Entrypoint: command,
  Image: text,
  Volumes: emptySet,
  WorkingDir: text,
  NetworkDisabled: z.boolean().nullish(),
  MacAddress: text,
  OnBuild: texts,
  Labels: z.record(z.string(), z.string()).nullish(),
  StopSignal: text,
  StopTimeout: whole,
  Shell: texts,
  Healthcheck: z
    .looseObject({
      Test: texts,
      Interval: duration,
      Timeout: duration,
      StartPeriod: duration,
      StartInterval: duration,
      Retries: z.int().nullish(),
    })
    .nullish(),
  HostConfig: hostConfigSchema.nullish(),
  NetworkingConfig: z
    .looseObject({
      EndpointsConfig: z.record(z.string(), z.looseObject({ Aliases: texts, MacAddress: text }).nullable()).nullish(),
    })
    .nullish(),
});

export const execSchema = z.looseObject({
  AttachStdin: z.boolean().nullish(),
  AttachStdout: z.boolean().nullish(),
  AttachStderr: z.boolean().nullish(),
  DetachKeys: text,
  Tty: z.boolean().nullish(),
  Env: texts,
  Cmd: texts,
  Privileged: z.boolean().nullish(),
  User: text,
  WorkingDir: text,
  ConsoleSize: z.tuple([z.number(), z.number()]).nullish(),
});

export type CreateBody = z.infer<typeof createSchema>;
export type HostConfig = z.infer<typeof hostConfigSchema>;
