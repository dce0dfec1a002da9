/** What a container is, as given at create; stored in the VM's extraConfig. */
import type { FileSpec, ProcessSpec, TmpfsSpec } from '../../tether/program/spec.js';
import type { HOST_GATEWAY, Links, NetworkWish } from '../network/types.js';
import type { VolumeMount } from '../storage/types.js';
import type { VolumeSharing } from '../storage/volume-sharing.js';

/** What a container is, as given at create; stored in the VM's extraConfig. */
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
  /** Weight of its processors compared to other VMs' (vSphere's shares); undefined: the default of 1000 per processor. */
  cpuShares?: number;
  memoryMiB: number;
  hostname: string;
  domainname: string;
  process: ProcessSpec;
  stopSignal: number;
  stopTimeoutSeconds: number;
  readOnlyRoot: boolean;
  /** Size limit of its root filesystem in bytes; undefined: all of its disk. */
  rootSize?: number;
  /** Bytes of /dev/shm; 0: there is none. */
  shmSize: number;
  /** Process 1 is an init that runs {@link process}. */
  init?: boolean;
  /** It has all devices of the VM and may write to /sys. */
  privileged?: boolean;
  /** It may write to its control group. */
  writableCgroups?: boolean;
  userNamespaces?: boolean;
  tmpfs?: TmpfsSpec[];
  volumes?: VolumeMount[];
  /** What its machine has for volumes that it shares with other running containers. */
  sharing?: VolumeSharing[];
  /** It is no container of the personality's: its machine does nothing but serve this volume. */
  servesVolume?: string;
  maskedPaths?: string[];
  readOnlyPaths?: string[];
  sysctls: Record<string, string>;
  /** Limits of the cgroup in the guest (version 2), by file: `memory.max`, `pids.max`, `cpu.max`, … */
  limits?: Record<string, string>;
  /** What its VM has until the next start, if {@link cpus} or {@link memoryMiB} was changed while it ran. */
  hardware?: { cpus: number; memoryMiB: number; limits?: Record<string, string> };
  /** Name servers, search list and options of /etc/resolv.conf. What is empty, or null, comes from the machine's file, as in Docker. */
  dns: { servers: string[]; search: string[]; options: string[] } | null;
  /** An address may be {@link HOST_GATEWAY}. */
  extraHosts: { host: string; address: string }[];
  /** Those of its current or last run. */
  links?: Links;
  /** Further files bind-mounted into the container. */
  files: FileSpec[];
  /** Networks to join, each with a card of its VM, in this order. Empty: no network card. */
  networks: NetworkWish[];
  /** Ports that it publishes: on a container network that is trusted with published ports, these are open. `to`: they lead to another. */
  openPorts?: { protocol: 'tcp' | 'udp'; first: number; last: number; to?: number }[];
  /** What its output log keeps; undefined: everything. */
  log?: { kept: boolean; keepBytes?: number; rotation?: LogRotation };
  /** Remove it when it exits. */
  autoRemove: boolean;
  /** Opaque to the port layer. */
  annotations: Record<string, string>;
}

/** A log that is written to files of a certain size, of which the newest are kept. */
export interface LogRotation {
  /** The Docker driver of that name, which determines how many bytes a line takes. */
  format: 'json-file' | 'local';
  /** A file of this size or more is full. */
  fileBytes: number;
  files: number;
}
