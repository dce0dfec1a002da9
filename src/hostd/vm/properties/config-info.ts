/** VirtualMachine.config. */
import { datastoreMount } from '../../datastore/datastore-paths.js';
import { datastoreRef } from '../../references.js';
import { diskFacts } from '../disk-facts.js';
import { showDevices } from '../hardware/devices.js';
import { allocations } from './allocations.js';
import { guestName } from './guest-names.js';
import { datastoresOf } from './vm-files.js';
import { isOn, type VmView } from './vm-view.js';

const HARDWARE_VERSION = 'vmx-14';

/** VirtualMachineConfigInfo. Devices and keys are built only when somebody reads them. */
export function configInfo(vm: VmView): object {
  const { config, host } = vm;
  const { files: datastore } = host;
  return {
    changeVersion: String(config.changeVersion),
    modified: config.createdAt,
    name: config.name,
    guestFullName: guestName(config.guestId),
    version: HARDWARE_VERSION,
    uuid: config.uuid,
    createDate: config.createdAt,
    instanceUuid: config.instanceUuid,
    npivTemporaryDisabled: true,
    template: false,
    guestId: config.guestId,
    alternateGuestName: '',
    annotation: config.annotation,
    files: {
      vmPathName: datastore.pathOf(vm.vmx),
      snapshotDirectory: datastore.pathOf(vm.directory),
      suspendDirectory: datastore.pathOf(vm.directory),
      logDirectory: datastore.pathOf(vm.directory),
    },
    tools: {
      toolsVersion: 0,
      afterPowerOn: true,
      afterResume: true,
      beforeGuestStandby: true,
      beforeGuestShutdown: true,
      toolsUpgradePolicy: 'manual',
      syncTimeWithHost: false,
    },
    flags: {
      disableAcceleration: false,
      enableLogging: true,
      useToe: false,
      runWithDebugInfo: false,
      monitorType: 'release',
      htSharing: 'any',
      snapshotDisabled: false,
      snapshotLocked: false,
      diskUuidEnabled: false,
      virtualMmuUsage: 'automatic',
      virtualExecUsage: 'hvAuto',
      snapshotPowerOffBehavior: 'powerOff',
      recordReplayEnabled: false,
    },
    defaultPowerOps: {
      powerOffType: 'soft',
      suspendType: 'hard',
      resetType: 'soft',
      defaultPowerOffType: 'soft',
      defaultSuspendType: 'hard',
      defaultResetType: 'soft',
      standbyAction: 'checkpoint',
    },
    get hardware() {
      return {
        numCPU: config.cpus,
        numCoresPerSocket: 1,
        memoryMB: config.memoryMiB,
        virtualICH7MPresent: false,
        virtualSMCPresent: false,
        get device() {
          return devices(vm);
        },
      };
    },
    ...allocations(config),
    latencySensitivity: { level: 'normal', sensitivity: 0 },
    vcpuConfig: [],
    cpuFeatureMask: [],
    memoryHotAddEnabled: false,
    cpuHotAddEnabled: false,
    cpuHotRemoveEnabled: false,
    get extraConfig() {
      return [...config.extraConfig].map(([key, value]) => ({ $type: 'OptionValue', key, value }));
    },
    datastoreUrl: datastoresOf(vm, datastore).map((name) => ({ name, url: datastoreMount(name) })),
    swapPlacement: 'inherit',
    bootOptions: {
      bootDelay: 0,
      enterBIOSSetup: false,
      bootRetryEnabled: false,
      bootRetryDelay: 10_000,
      bootOrder: [],
    },
    vAssertsEnabled: false,
    changeTrackingEnabled: false,
    firmware: 'bios',
    maxMksConnections: 40,
    guestAutoLockEnabled: false,
    memoryReservationLockedToMax: false,
    initialOverhead: { initialMemoryReservation: 0, initialSwapReservation: 0 },
    nestedHVEnabled: false,
    vPMCEnabled: false,
    messageBusTunnelEnabled: false,
  };
}

/** VirtualDevice[]. */
function devices(vm: VmView): object[] {
  const { files: datastore } = vm.host;
  return showDevices(vm.config.hardware, {
    datastoreOf: (file) => datastoreRef(datastore.placeOf(datastore.resolve(file)).name),
    networkOf: (portGroup) => vm.host.portGroups.networkOf(portGroup),
    disk: (file) => {
      const facts = diskFacts(datastore.resolve(file));
      if (facts === null || facts.parent === null) return facts;
      // The guest may have written what a disk says about its parent, so only a path that the caller may read is shown.
      const inside = datastore.has(facts.parent) && vm.host.fileAccess.mayRead(facts.parent);
      return { ...facts, parent: inside ? datastore.pathOf(facts.parent) : null };
    },
    on: isOn(vm),
  });
}
