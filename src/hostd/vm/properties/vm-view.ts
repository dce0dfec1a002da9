/** What a VM's properties are computed from. */
import type { ManagedObjectReference, VirtualMachineQuestionInfo } from '../../../vim25/server.js';
import { firstAddress } from '../guest-addresses.js';
import type { PowerState } from '../power.js';
import type { VmConfig } from '../vm-config.js';
import type { VmHost } from '../vm-host.js';

export interface VmView {
  ref: ManagedObjectReference;
  host: VmHost;
  config: VmConfig;
  /** Local paths. */
  vmx: string;
  directory: string;
  pool: ManagedObjectReference;
  folder: ManagedObjectReference;
  powerState: PowerState;
  bootTime: Date | undefined;
  question: VirtualMachineQuestionInfo | undefined;
}

export function isOn(vm: VmView): boolean {
  return vm.powerState === 'poweredOn';
}

/** The first address that the guest reported, while it runs. */
export function addressOf(vm: VmView): string | undefined {
  return isOn(vm) ? firstAddress(vm.config.extraConfig) : undefined;
}
