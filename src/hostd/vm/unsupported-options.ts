/**
 * Refuses VM options that this host does not have, rather than ignoring them. A value that describes what this host does anyway is
 * accepted.
 */
import type { VirtualMachineConfigSpec } from '../../vim25/server.js';
import { fault } from '../faults.js';

/** Options that are carried out, or whose lack no client could notice. */
const CARRIED_OUT = new Set([
  '$type',
  'changeVersion',
  'name',
  'uuid',
  'instanceUuid',
  'guestId',
  'annotation',
  'files',
  'numCPUs',
  'memoryMB',
  'deviceChange',
  'cpuAllocation',
  'extraConfig',
]);

/**
 * By path, the values that describe what this host does anyway; all others are refused. A path that is not listed may only be `false` or
 * `''`.
 */
const AS_IT_IS: Record<string, readonly unknown[]> = {
  numCoresPerSocket: [0, 1],
  'cpuAllocation.reservation': [0],
  'cpuAllocation.limit': [-1],
  'memoryAllocation.reservation': [0],
  'memoryAllocation.limit': [-1],
  'memoryAllocation.shares.level': ['normal'],
  'latencySensitivity.level': ['normal'],
  'latencySensitivity.sensitivity': [0],
  firmware: ['bios'],
  swapPlacement: ['inherit'],
  'bootOptions.bootDelay': [0],
  'bootOptions.bootRetryDelay': [0, 10_000],
  'tools.toolsVersion': [0],
  'tools.toolsUpgradePolicy': ['manual'],
  'tools.afterPowerOn': [true],
  'tools.afterResume': [true],
  'tools.beforeGuestStandby': [true],
  'tools.beforeGuestShutdown': [true],
  'flags.enableLogging': [true],
  'flags.monitorType': ['release'],
  'flags.htSharing': ['any'],
  'flags.virtualMmuUsage': ['automatic'],
  'flags.virtualExecUsage': ['hvAuto'],
  'flags.snapshotPowerOffBehavior': ['powerOff'],
  'powerOpInfo.powerOffType': ['soft'],
  'powerOpInfo.suspendType': ['hard'],
  'powerOpInfo.resetType': ['soft'],
  'powerOpInfo.defaultPowerOffType': ['soft'],
  'powerOpInfo.defaultSuspendType': ['hard'],
  'powerOpInfo.defaultResetType': ['soft'],
  'powerOpInfo.standbyAction': ['checkpoint'],
  maxMksConnections: [40],
  npivTemporaryDisabled: [true],
};

/** Nested options that are handled elsewhere or do not matter. */
const PASSED = new Set([
  'cpuAllocation.shares',
  'cpuAllocation.expandableReservation',
  'memoryAllocation.expandableReservation',
  'memoryAllocation.shares.shares',
]);

/** @throws InvalidVmConfig that names the first option this host cannot give */
export function refuseUnsupported(spec: VirtualMachineConfigSpec, creating: boolean): void {
  for (const [key, value] of Object.entries(spec)) {
    // A new VM may carry the hardware version and date of the VM that it is modelled on.
    if (creating && (key === 'version' || key === 'createDate')) continue;
    if (key === 'version' && /^vmx-\d+$/.test(String(value)) && value === 'vmx-14') continue;
    if (CARRIED_OUT.has(key) && key !== 'cpuAllocation') continue;
    check(key, value);
  }
}

function check(path: string, value: unknown): void {
  if (value === undefined || value === null || value === false || value === '' || path.endsWith('.$type')) return;
  if (PASSED.has(path) || AS_IT_IS[path]?.includes(value) === true) return;
  if (typeof value === 'object' && !(value instanceof Date)) {
    if (Array.isArray(value) && value.length === 0) return;
    if (!Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) check(`${path}.${key}`, inner);
      return;
    }
  }
  const shown = typeof value === 'object' ? '' : ` '${String(value).slice(0, 40)}'`;
  throw fault('InvalidVmConfig', `configSpec.${path}:${shown} is not supported by this host`, {
    property: `configSpec.${path}`,
  });
}
