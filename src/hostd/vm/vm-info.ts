/** What a VM says of itself: its properties as vim25 has them. */
import type { ManagedObjectReference, VirtualMachineQuestionInfo } from '../../vim25/types.generated.js';
import type { Host } from '../inventory/host.js';
import { cpuMhz } from '../inventory/host-info.js';
import { sharesInfo } from './cpu-shares.js';
import { diskFacts } from './disk-facts.js';
import { firstAddress, guestAddresses } from './guest-addresses.js';
import { vimDevices } from './vim-devices.js';
import type { VmConfig } from './vm-config.js';
import { fileLayout, fileLayoutEx, storageInfo, storageSummary } from './vm-files.js';

/** What the properties are made of. */
export interface VmView {
  ref: ManagedObjectReference;
  host: Host;
  config: VmConfig;
  /** Local paths. */
  vmx: string;
  directory: string;
  powerState: 'poweredOff' | 'poweredOn' | 'suspended';
  bootTime: Date | undefined;
  question: VirtualMachineQuestionInfo | undefined;
}

/** Names that vSphere shows for kinds of guests. */
const GUEST_NAMES: Record<string, string> = {
  otherGuest: 'Other (32-bit)',
  otherGuest64: 'Other (64-bit)',
  otherLinux64Guest: 'Other Linux (64-bit)',
  other3xLinux64Guest: 'Other 3.x Linux (64-bit)',
  other4xLinux64Guest: 'Other 4.x Linux (64-bit)',
  other5xLinux64Guest: 'Other 5.x or later Linux (64-bit)',
};
const HARDWARE_VERSION = 'vmx-14';

const guestName = (config: VmConfig): string => GUEST_NAMES[config.guestId] ?? config.guestId;
const isOn = (vm: VmView): boolean => vm.powerState === 'poweredOn';

/** The first address the guest told, while it runs. */
function addressOf(vm: VmView): string | undefined {
  return isOn(vm) ? firstAddress(vm.config.extraConfig) : undefined;
}

/** VirtualMachineConfigInfo. Devices and keys are made only where they are looked at. */
export function configInfo(vm: VmView): object {
  const { config, host } = vm;
  const { datastore } = host;
  const memoryShares = { level: 'normal', shares: 10 * config.memoryMiB };
  return {
    changeVersion: String(config.changeVersion),
    modified: config.createdAt,
    name: config.name,
    guestFullName: guestName(config),
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
    cpuAllocation: allocation(sharesInfo(config.cpuShares, config.cpus)),
    memoryAllocation: allocation(memoryShares),
    latencySensitivity: { level: 'normal', sensitivity: 0 },
    vcpuConfig: [],
    cpuFeatureMask: [],
    memoryHotAddEnabled: false,
    cpuHotAddEnabled: false,
    cpuHotRemoveEnabled: false,
    get extraConfig() {
      return [...config.extraConfig].map(([key, value]) => ({ $type: 'OptionValue', key, value }));
    },
    datastoreUrl: [datastore.urlPair()],
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
  const { datastore } = vm.host;
  return vimDevices(vm.config.hardware, {
    datastore: datastore.ref,
    networkOf: (portGroup) => vm.host.networkRef(portGroup),
    disk: (file) => {
      const facts = diskFacts(datastore.resolve(file));
      if (facts === null || facts.parent === null) return facts;
      // A file that claims a parent outside the datastore is not shown one, nor one of others, nor one that is no path of it.
      const inside = datastore.has(facts.parent) && vm.host.fileAccess.mayRead(datastore.relative(facts.parent));
      return { ...facts, parent: inside ? datastore.pathOf(facts.parent) : null };
    },
    on: isOn(vm),
  });
}

function allocation(shares: object): object {
  return { reservation: 0, expandableReservation: false, limit: -1, shares };
}

/** ResourceConfigSpec of the VM. */
export function resourceConfig(vm: VmView): object {
  const { cpus, cpuShares, memoryMiB } = vm.config;
  return {
    entity: vm.ref,
    cpuAllocation: allocation(sharesInfo(cpuShares, cpus)),
    memoryAllocation: allocation({ level: 'normal', shares: 10 * memoryMiB }),
  };
}

/** VirtualMachineRuntimeInfo. */
export function runtimeInfo(vm: VmView): object {
  return {
    device: [],
    host: vm.host.hostSystem,
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

/** GuestInfo. */
export function guestInfo(vm: VmView): object {
  const { config } = vm;
  const on = isOn(vm);
  const ipAddress = addressOf(vm);
  const told = guestAddresses(config.extraConfig);
  const net = config.hardware.nics.map(({ key, portGroup, mac, connected }, index) => {
    const card = told.get(mac.toLowerCase());
    const address = card?.ipAddress ?? (index === 0 ? ipAddress : undefined);
    return {
      network: portGroup,
      ...(address === undefined ? {} : { ipAddress: [address] }),
      macAddress: mac,
      connected,
      deviceConfigId: key,
      // `govc vm.ip -a` waits until each card has one.
      ...(card === undefined ? {} : { ipConfig: { ipAddress: [{ ...card, state: 'preferred' }] } }),
    };
  });
  return {
    toolsStatus: on ? 'toolsOk' : 'toolsNotRunning',
    toolsVersionStatus: 'guestToolsUnmanaged',
    toolsVersionStatus2: 'guestToolsUnmanaged',
    toolsRunningStatus: on ? 'guestToolsRunning' : 'guestToolsNotRunning',
    toolsVersion: '0',
    ...(on ? { guestId: config.guestId, guestFamily: 'linuxGuest', guestFullName: guestName(config) } : {}),
    ...(ipAddress === undefined ? {} : { ipAddress }),
    net: on ? net : [],
    guestState: on ? 'running' : 'notRunning',
    appHeartbeatStatus: 'appStatusGray',
    guestOperationsReady: false,
    interactiveGuestOperationsReady: false,
    guestStateChangeSupported: on,
  };
}

/** VirtualMachineSummary. Its storage is counted only where it is looked at. */
export function vmSummary(vm: VmView): object {
  const { config, host } = vm;
  const on = isOn(vm);
  const ipAddress = addressOf(vm);
  return {
    vm: vm.ref,
    runtime: runtimeInfo(vm),
    guest: {
      guestId: config.guestId,
      guestFullName: guestName(config),
      toolsStatus: on ? 'toolsOk' : 'toolsNotRunning',
      toolsVersionStatus: 'guestToolsUnmanaged',
      toolsVersionStatus2: 'guestToolsUnmanaged',
      toolsRunningStatus: on ? 'guestToolsRunning' : 'guestToolsNotRunning',
      ...(ipAddress === undefined ? {} : { ipAddress }),
    },
    config: {
      name: config.name,
      template: false,
      vmPathName: host.datastore.pathOf(vm.vmx),
      memorySizeMB: config.memoryMiB,
      cpuReservation: 0,
      memoryReservation: 0,
      numCpu: config.cpus,
      numEthernetCards: config.hardware.nics.length,
      numVirtualDisks: config.hardware.disks.length,
      uuid: config.uuid,
      instanceUuid: config.instanceUuid,
      guestId: config.guestId,
      guestFullName: guestName(config),
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

const CAN = [
  'bootOptionsSupported',
  'changeTrackingSupported',
  'consolePreferencesSupported',
  'cpuFeatureMaskSupported',
  'disableSnapshotsSupported',
  'diskSharesSupported',
  'diskOnlySnapshotOnSuspendedVMSupported',
  'featureRequirementSupported',
  'guestAutoLockSupported',
  'hostBasedReplicationSupported',
  'lockSnapshotsSupported',
  'memoryReservationLockSupported',
  'memorySnapshotsSupported',
  'messageBusSupported',
  'multipleCoresPerSocketSupported',
  'multipleSnapshotsSupported',
  'nestedHVSupported',
  'npivWwnOnNonRdmVmSupported',
  'perVmEvcSupported',
  'poweredOffSnapshotsSupported',
  'poweredOnMonitorTypeChangeSupported',
  'quiescedSnapshotsSupported',
  'recordReplaySupported',
  'revertToSnapshotSupported',
  's1AcpiManagementSupported',
  'seSparseDiskSupported',
  'secureBootSupported',
  'settingDisplayTopologySupported',
  'settingScreenResolutionSupported',
  'settingVideoRamSizeSupported',
  'snapshotConfigSupported',
  'snapshotOperationsSupported',
  'swapPlacementSupported',
  'toolsAutoUpdateSupported',
  'toolsSyncTimeSupported',
  'vPMCSupported',
  'virtualExecUsageIgnored',
  'virtualMmuUsageSupported',
  'virtualMmuUsageIgnored',
  'vmNpivWwnDisableSupported',
  'vmNpivWwnOnNonRdmVmSupported',
  'vmNpivWwnSupported',
  'vmNpivWwnUpdateSupported',
];

/** VirtualMachineCapability: none of what it can speak of. */
export function vmCapability(known: (name: string) => boolean): object {
  return Object.fromEntries(CAN.filter(known).map((name) => [name, false]));
}

export { fileLayout, fileLayoutEx, storageInfo };
