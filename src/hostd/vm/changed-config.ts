/** Applies a VirtualMachineConfigSpec to a VM's configuration: everything but its devices. */
import type { VirtualMachineConfigSpec } from '../../vim25/server.js';
import { fault } from '../faults.js';
import { MAX_SHARES, sharesOf } from './cpu-shares.js';
import { isOwnKey, type VmConfig } from './vm-config.js';

const MAX_NAME = 80;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** @throws ConcurrentAccess if the client has seen an older configuration than the present one */
export function checkVersion(config: VmConfig, spec: VirtualMachineConfigSpec): void {
  const { changeVersion } = spec;
  if (changeVersion !== undefined && changeVersion !== '' && changeVersion !== String(config.changeVersion))
    throw fault('ConcurrentAccess', 'The object has already been modified by another operation');
}

/** @throws InvalidName */
export function checkNameLength(name: string): void {
  if (name.length > MAX_NAME) throw fault('InvalidName', `The name is longer than ${MAX_NAME} characters`, { name });
}

/** A copy of the configuration changed as the spec says; name and devices stay the same. @throws InvalidArgument */
export function changedConfig(config: VmConfig, spec: VirtualMachineConfigSpec): VmConfig {
  const next: VmConfig = { ...config, extraConfig: new Map(config.extraConfig) };
  next.cpus = inRange('numCPUs', spec.numCPUs ?? config.cpus, 1, 256);
  next.memoryMiB = inRange('memoryMB', spec.memoryMB ?? config.memoryMiB, 32, 16 * 1024 * 1024);
  const shares = spec.cpuAllocation?.shares;
  if (shares !== undefined) {
    next.cpuShares = sharesOf(shares.level, shares.shares, next.cpus);
    if (next.cpuShares !== null) inRange('cpuAllocation.shares', next.cpuShares, 0, MAX_SHARES);
  }
  if (spec.guestId !== undefined) next.guestId = checkText('guestId', spec.guestId, /^\w{1,64}$/);
  if (spec.annotation !== undefined) next.annotation = spec.annotation;
  if (spec.uuid !== undefined && spec.uuid !== '') next.uuid = checkText('uuid', spec.uuid, UUID).toLowerCase();
  if (spec.instanceUuid !== undefined && spec.instanceUuid !== '')
    next.instanceUuid = checkText('instanceUuid', spec.instanceUuid, UUID).toLowerCase();
  for (const option of spec.extraConfig ?? []) setExtra(next.extraConfig, option.key, option.value);
  return next;
}

function setExtra(extra: Map<string, string>, key: string, value: unknown): void {
  const invalidProperty = 'configSpec.extraConfig';
  if (isOwnKey(key)) throw fault('InvalidArgument', `'${key}' is not an extra configuration key`, { invalidProperty });
  if (!/^[^\s="]{1,256}$/.test(key)) throw fault('InvalidArgument', `'${key}' is not a valid key`, { invalidProperty });
  const text = value === undefined || value === null ? '' : String(value);
  if (text === '') extra.delete(key);
  else extra.set(key, text);
}

function checkText(name: string, text: string, pattern: RegExp): string {
  if (!pattern.test(text))
    throw fault('InvalidArgument', `'${text.slice(0, 80)}' cannot be the ${name} of a machine`, {
      invalidProperty: `configSpec.${name}`,
    });
  return text;
}

function inRange(name: string, value: number, least: number, most: number): number {
  if (value < least || value > most)
    throw fault('InvalidArgument', `${name} must be ${least} to ${most}, not ${value}`, {
      invalidProperty: `configSpec.${name}`,
    });
  return value;
}
