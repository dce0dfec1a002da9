/** What can be seen of a running container from outside its processes: plain data, read in its guest. */

/** A process of a container, as the guest's kernel describes it (proc(5)). */
export interface GuestProcess {
  pid: number;
  ppid: number;
  pgrp: number;
  session: number;
  /** Device number of the terminal; 0 if there is none. */
  tty: number;
  /** Foreground process group of the terminal; -1 if there is none. */
  tpgid: number;
  /** One letter. */
  state: string;
  comm: string;
  args: string[];
  uid: number;
  euid: number;
  gid: number;
  egid: number;
  flags: number;
  minorFaults: number;
  majorFaults: number;
  /** Processor time used, in seconds. */
  cpuSeconds: number;
  priority: number;
  nice: number;
  threads: number;
  startedAt: Date;
  ageSeconds: number;
  virtualBytes: number;
  residentBytes: number;
  lockedBytes: number;
  processor: number;
  /** Scheduling policy, as in sched(7). */
  policy: number;
  rtPriority: number;
}

/** All processes of a container, the first one first. */
export interface ProcessList {
  at: Date;
  /** Memory of the VM. */
  memoryBytes: number;
  /** Names of the container's users and groups by number. */
  users: ReadonlyMap<number, string>;
  groups: ReadonlyMap<number, string>;
  processes: GuestProcess[];
}

/** Counters of a network card, as the container sees it. */
export interface NetworkUsage {
  rxBytes: number;
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

/** What a container has used so far, and is using now. The counters cover its current run. */
export interface ResourceUsage {
  at: Date;
  /** Processors of the VM, and how many nanoseconds they have run. */
  cpus: number;
  uptimeNs: number;
  cpu: {
    totalNs: number;
    userNs: number;
    systemNs: number;
    periods: number;
    throttledPeriods: number;
    throttledNs: number;
  };
  memory: {
    usage: number;
    /** The container's limit, or the VM's memory. */
    limit: number;
    /** Keys of memory.stat (cgroup v2). */
    stat: Record<string, number>;
  };
  /** `limit` is null if there is none. */
  pids: { current: number; limit: number | null };
  networks: Record<string, NetworkUsage>;
  disks: {
    major: number;
    minor: number;
    readBytes: number;
    writtenBytes: number;
    reads: number;
    writes: number;
  }[];
}

/** Measures one container for somebody who watches it, and who must close it. */
export interface Meter {
  /** @throws conflict when the container no longer runs */
  read(): Promise<ResourceUsage>;
  close(): void;
}

/** Looks into running containers. Nothing is measured unless somebody asks. */
export interface ObserveService {
  /** @throws conflict when the container does not run */
  processes(id: string, signal?: AbortSignal): Promise<ProcessList>;
  /** @throws conflict when the container does not run */
  meter(id: string, signal?: AbortSignal): Promise<Meter>;
}
