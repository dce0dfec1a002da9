/** What a container's processes may do: capabilities, `--privileged`, `--security-opt`, hidden paths. Works them out as Docker does. */
import {
  CAPABILITIES,
  type ContainerSpec,
  DEFAULT_CAPABILITIES,
  type ProcessSpec,
} from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import { parseBool } from '../../values/parse-bool.js';
import type { HostConfig } from './host-options.js';

/** The parts of /proc and /sys that Docker hides. */
export const MASKED_PATHS = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];

/** The paths that Docker makes read-only. */
export const READ_ONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const ALL = 'ALL';
const MAX_PATHS = 100;

/** `chown` → `CAP_CHOWN`, `all` → `ALL`. @throws invalid in Docker's words */
function normalized(field: string, names: string[]): string[] {
  return names.map((name) => {
    const upper = name.toUpperCase();
    if (upper === ALL) return ALL;
    const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
    if (!(CAPABILITIES as readonly string[]).includes(full))
      throw invalid(`invalid ${field}: unknown capability: "${full}"`);
    return full;
  });
}

/** The capabilities of a container's processes. Adding one wins over dropping it. @throws invalid */
export function capabilities(host: Pick<HostConfig, 'CapAdd' | 'CapDrop' | 'Privileged'>): readonly string[] {
  const add = normalized('CapAdd', host.CapAdd ?? []);
  const drop = normalized('CapDrop', host.CapDrop ?? []);
  if (host.Privileged === true) return CAPABILITIES;
  if (add.includes(ALL)) return CAPABILITIES.filter((name) => !drop.includes(name));
  const kept = drop.includes(ALL) ? [] : DEFAULT_CAPABILITIES.filter((name) => !drop.includes(name));
  return CAPABILITIES.filter((name) => kept.includes(name) || add.includes(name));
}

interface SecurityOptions {
  noNewPrivileges: boolean;
  writableCgroups: boolean;
  /** Unprivileged processes may make user namespaces, which Docker's seccomp profile forbids. */
  unconfined: boolean;
}

/**
 * `--security-opt`. Lifting a confinement that protects a shared kernel needs nothing done in a virtual machine; a custom profile would
 * have to be carried out, so it is refused. @throws invalid, unsupported
 */
function securityOptions(options: string[]): SecurityOptions {
  const result: SecurityOptions = { noNewPrivileges: false, writableCgroups: false, unconfined: false };
  for (const option of options) {
    if (option === 'no-new-privileges') {
      result.noNewPrivileges = true;
      continue;
    }
    if (option === 'disable') continue;
    if (option === 'writable-cgroups') {
      result.writableCgroups = true;
      continue;
    }
    const at = option.includes('=') ? option.indexOf('=') : option.indexOf(':');
    if (at < 0) throw invalid(`invalid --security-opt 1: "${option}"`);
    const [key, value] = [option.slice(0, at), option.slice(at + 1)];
    const yes = parseBool(value);
    if (key === 'no-new-privileges' && yes !== null) result.noNewPrivileges = yes;
    else if (key === 'writable-cgroups' && yes !== null) result.writableCgroups = yes;
    else if (key === 'seccomp') {
      if (value !== 'unconfined' && value !== 'builtin')
        throw unsupported("HostConfig.SecurityOpt: seccomp profiles other than 'unconfined' are not implemented");
      result.unconfined = value === 'unconfined';
    } else if (key === 'apparmor') {
      if (value !== 'unconfined' && value !== 'docker-default' && value !== '')
        throw unsupported("HostConfig.SecurityOpt: AppArmor profiles other than 'unconfined' are not implemented");
    } else if (key !== 'label') throw invalid(`invalid --security-opt 2: "${option}"`);
  }
  return result;
}

/** The paths of the request, or else Docker's; none for a privileged container. @throws invalid */
function paths(given: string[] | null | undefined, own: string[], privileged: boolean): string[] {
  if (privileged) return [];
  const list = given ?? own;
  if (list.length > MAX_PATHS) throw invalid(`too many masked or read-only paths: ${list.length}`);
  for (const path of list) if (!path.startsWith('/')) throw invalid(`invalid path: '${path}' must be absolute`);
  return list;
}

/** The `oom_score_adj` of processes that the kernel never kills when memory runs out. With nothing to kill, allocations wait. */
const NEVER_KILLED = -1000;

/** What `--privileged`, `--cap-add`, `--security-opt` … make of a new container. @throws invalid, unsupported */
export function applyPrivileges(spec: ContainerSpec, host: HostConfig): void {
  const privileged = host.Privileged === true;
  const security = securityOptions(host.SecurityOpt ?? []);
  Object.assign(spec.process, {
    capabilities: [...capabilities(host)],
    noNewPrivileges: security.noNewPrivileges,
    oomScoreAdj: host.OomKillDisable === true ? NEVER_KILLED : (host.OomScoreAdj ?? 0),
  } satisfies Partial<ProcessSpec>);
  Object.assign(spec, {
    privileged,
    writableCgroups: security.writableCgroups,
    userNamespaces: privileged || security.unconfined,
    maskedPaths: paths(host.MaskedPaths, MASKED_PATHS, privileged),
    readOnlyPaths: paths(host.ReadonlyPaths, READ_ONLY_PATHS, privileged),
  } satisfies Partial<ContainerSpec>);
}
