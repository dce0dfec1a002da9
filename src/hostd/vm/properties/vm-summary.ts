/** VirtualMachine.summary. */
import { toolsState } from './guest-info.js';
import { guestName } from './guest-names.js';
import { runtimeInfo } from './runtime-info.js';
import { storageSummary } from './vm-files.js';
import { addressOf, isOn, type VmView } from './vm-view.js';

/** VirtualMachineSummary. Its storage is counted only when somebody reads it. */
export function vmSummary(vm: VmView): object {
  const { config, host } = vm;
  const on = isOn(vm);
  const ipAddress = addressOf(vm);
  return {
    vm: vm.ref,
    runtime: runtimeInfo(vm),
    guest: {
      guestId: config.guestId,
      guestFullName: guestName(config.guestId),
      ...toolsState(on),
      ...(ipAddress === undefined ? {} : { ipAddress }),
    },
    config: {
      name: config.name,
      template: false,
      vmPathName: host.files.pathOf(vm.vmx),
      memorySizeMB: config.memoryMiB,
      cpuReservation: 0,
      memoryReservation: 0,
      numCpu: config.cpus,
      numEthernetCards: config.hardware.nics.length,
      numVirtualDisks: config.hardware.disks.length,
      uuid: config.uuid,
      instanceUuid: config.instanceUuid,
      guestId: config.guestId,
      guestFullName: guestName(config.guestId),
      annotation: config.annotation,
      installBootRequired: false,
      numVmiopBackings: 0,
    },
    get storage() {
      return storageSummary(vm);
    },
    quickStats: {
      overallCpuUsage: 0,
      overallCpuDemand: 0,
      guestMemoryUsage: 0,
      hostMemoryUsage: 0,
      swappedMemory: 0,
      balloonedMemory: 0,
      compressedMemory: 0,
      guestHeartbeatStatus: on ? 'green' : 'gray',
      uptimeSeconds:
        vm.bootTime === undefined ? 0 : Math.max(0, Math.floor((Date.now() - vm.bootTime.getTime()) / 1000)),
    },
    overallStatus: 'green',
    customValue: [],
  };
}
