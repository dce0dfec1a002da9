/** VirtualMachine.runtime. */

import { cpuMhz } from '../../host-cpu.js';
import { HOST_SYSTEM } from '../../references.js';
import type { VmView } from './vm-view.js';

/** VirtualMachineRuntimeInfo. */
export function runtimeInfo(vm: VmView): object {
  return {
    device: [],
    host: HOST_SYSTEM,
    connectionState: 'connected',
    powerState: vm.powerState,
    faultToleranceState: 'notConfigured',
    toolsInstallerMounted: false,
    bootTime: vm.bootTime,
    question: vm.question,
    suspendInterval: 0,
    memoryOverhead: 0,
    maxCpuUsage: cpuMhz() * vm.config.cpus,
    maxMemoryUsage: vm.config.memoryMiB,
    numMksConnections: 0,
    recordReplayState: 'inactive',
    cleanPowerOff: vm.powerState === 'poweredOff',
    onlineStandby: false,
    consolidationNeeded: false,
  };
}
