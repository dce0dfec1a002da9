/** A container's statistics as the API gives them on a host with cgroup v2. */
import type { ResourceUsage } from '../../../port-layer/index.js';
import { API_VERSION, atLeast } from '../http/api-version.js';
import { formatTime } from '../values/timestamps.js';

const NEVER = '0001-01-01T00:00:00Z';
/** What Docker passes on of memory.stat. */
const MEMORY_KEYS = [
  'active_anon',
  'active_file',
  'anon',
  'anon_thp',
  'file',
  'file_dirty',
  'file_mapped',
  'file_writeback',
  'inactive_anon',
  'inactive_file',
  'kernel_stack',
  'pgactivate',
  'pgdeactivate',
  'pgfault',
  'pglazyfree',
  'pglazyfreed',
  'pgmajfault',
  'pgrefill',
  'pgscan',
  'pgsteal',
  'shmem',
  'slab',
  'slab_reclaimable',
  'slab_unreclaimable',
  'sock',
  'thp_collapse_alloc',
  'thp_fault_alloc',
  'unevictable',
  'workingset_activate',
  'workingset_nodereclaim',
  'workingset_refault',
];

const NO_DISKS = {
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
};

const NO_CPU = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};

/**
 * One record.
 * @param before the measurement before, from which the share of processor time is computed; null: there is none
 * @param now null: the container does not run
 */
export function statsView(
  container: { id: string; name: string },
  now: ResourceUsage | null,
  before: ResourceUsage | null,
  apiVersion = API_VERSION,
): object {
  const head = { name: `/${container.name}`, id: container.id };
  const rest = {
    num_procs: 0,
    storage_stats: {},
    ...(atLeast(apiVersion, '1.52') ? { os_type: 'linux' } : {}),
  };
  if (now === null) {
    return {
      ...head,
      read: NEVER,
      preread: NEVER,
      pids_stats: {},
      blkio_stats: NO_DISKS,
      ...rest,
      cpu_stats: NO_CPU,
      precpu_stats: NO_CPU,
      memory_stats: {},
    };
  }
  return {
    ...head,
    read: time(now),
    preread: before === null ? NEVER : time(before),
    pids_stats: { current: now.pids.current, ...(now.pids.limit === null ? {} : { limit: now.pids.limit }) },
    blkio_stats: { ...NO_DISKS, io_service_bytes_recursive: disks(now) },
    ...rest,
    cpu_stats: cpu(now),
    precpu_stats: before === null ? NO_CPU : cpu(before),
    memory_stats: memory(now),
    ...(Object.keys(now.networks).length === 0 ? {} : { networks: networks(now) }),
  };
}

function time({ at }: ResourceUsage): string {
  return formatTime(BigInt(at.getTime()) * 1_000_000n);
}

/** The processor time of the system. The system is the VM: all its processors, for as long as it has run. */
function cpu({ cpu: used, cpus, uptimeNs }: ResourceUsage): object {
  return {
    cpu_usage: {
      total_usage: used.totalNs,
      usage_in_kernelmode: used.systemNs,
      usage_in_usermode: used.userNs,
    },
    system_cpu_usage: uptimeNs * cpus,
    online_cpus: cpus,
    throttling_data: {
      periods: used.periods,
      throttled_periods: used.throttledPeriods,
      throttled_time: used.throttledNs,
    },
  };
}

function memory({ memory: used }: ResourceUsage): object {
  const stats: Record<string, number> = {};
  // Clients older than cgroup v2 subtract this from the usage.
  stats.cache = used.stat.file ?? 0;
  for (const key of MEMORY_KEYS) if (used.stat[key] !== undefined) stats[key] = used.stat[key];
  return { usage: used.usage, stats, limit: used.limit };
}

function disks({ disks: all }: ResourceUsage): object[] {
  return all.flatMap(({ major, minor, readBytes, writtenBytes }) => [
    { major, minor, op: 'read', value: readBytes },
    { major, minor, op: 'write', value: writtenBytes },
  ]);
}

function networks({ networks: cards }: ResourceUsage): object {
  return Object.fromEntries(
    Object.entries(cards).map(([name, card]) => [
      name,
      {
        rx_bytes: card.rxBytes,
        rx_packets: card.rxPackets,
        rx_errors: card.rxErrors,
        rx_dropped: card.rxDropped,
        tx_bytes: card.txBytes,
        tx_packets: card.txPackets,
        tx_errors: card.txErrors,
        tx_dropped: card.txDropped,
      },
    ]),
  );
}
