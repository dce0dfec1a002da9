/** VirtualMachine.capability. */
import { typeField } from '../../../vim25/server.js';

/** All the fields of a capability, across versions of the API. */
const NAMES = [
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

/** VirtualMachineCapability: a VM here has none of these. Fields that this host's API does not know are left out. */
export const VM_CAPABILITY: object = Object.fromEntries(
  NAMES.filter((name) => typeField('VirtualMachineCapability', name) !== undefined).map((name) => [name, false]),
);
