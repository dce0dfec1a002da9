/** Which part of vim25 is generated: the operations we call or answer, what they reach, and named subclasses. */

/** Operations by wire name. */
export const OPERATIONS = `
RetrieveServiceContent CurrentTime Login Logout SessionIsActive AcquireGenericServiceTicket
RetrieveProperties RetrievePropertiesEx ContinueRetrievePropertiesEx CancelRetrievePropertiesEx CreateFilter DestroyPropertyFilter
WaitForUpdates WaitForUpdatesEx CheckForUpdates CancelWaitForUpdates CreatePropertyCollector DestroyPropertyCollector
CreateContainerView CreateListView DestroyView ModifyListView
FindByUuid FindAllByUuid FindByInventoryPath FindByIp FindByDnsName FindChild FindByDatastorePath
CreateVM_Task CreateFolder RegisterVM_Task MoveIntoFolder_Task
PowerOnVM_Task PowerOffVM_Task ResetVM_Task SuspendVM_Task ShutdownGuest RebootGuest ReconfigVM_Task UnregisterVM
CreateSnapshot_Task CloneVM_Task MarkAsTemplate RelocateVM_Task
Destroy_Task Rename_Task CreateResourcePool UpdateConfig DestroyChildren PowerOnMultiVM_Task
CancelTask CreateCollectorForTasks ReadNextTasks
QueryEvents CreateCollectorForEvents ReadNextEvents ReadPreviousEvents SetCollectorPageSize ResetCollector RewindCollector DestroyCollector
MakeDirectory DeleteDatastoreFile_Task MoveDatastoreFile_Task CopyDatastoreFile_Task SearchDatastore_Task SearchDatastoreSubFolders_Task
CreateVirtualDisk_Task DeleteVirtualDisk_Task CopyVirtualDisk_Task
AddPortGroup RemovePortGroup RefreshDatastore RefreshDatastoreStorageInfo
QueryOptions UpdateOptions QueryPerfProviderSummary QueryAvailablePerfMetric QueryPerf
`
  .trim()
  .split(/\s+/);

/** Subclasses of these are all included. */
export const WHOLE_FAMILIES = [
  'VirtualDevice',
  'VirtualDeviceBackingInfo',
  'VirtualDeviceBusSlotInfo',
  'VirtualDeviceConnectInfo',
  'SelectionSpec',
  'FileInfo',
  'FileQuery',
  'TaskReason',
  'EntityEventArgument',
  'EventArgument',
];

/** Subclasses included by name: events and faults have hundreds. */
export const SUBCLASSES = `
ArrayOfManagedObjectReference ArrayOfString ArrayOfInt ArrayOfByte ArrayOfOptionValue ArrayOfVirtualDevice ArrayOfGuestNicInfo ArrayOfEvent
OptionValue ElementDescription ExtendedDescription TypeDescription HostPortGroupSpec DatastoreSummary
EventEx GeneralEvent UserLoginSessionEvent UserLogoutSessionEvent BadUsernameSessionEvent VmEvent VmBeingCreatedEvent VmCreatedEvent VmStartingEvent VmPoweredOnEvent VmPoweredOffEvent VmSuspendedEvent VmResettingEvent
VmReconfiguredEvent VmRemovedEvent VmRegisteredEvent VmRenamedEvent VmGuestShutdownEvent VmGuestRebootEvent VmFailedToPowerOnEvent TaskEvent ResourcePoolCreatedEvent ResourcePoolDestroyedEvent VmMigratedEvent VmRelocatedEvent DrsVmMigratedEvent DrsVmPoweredOnEvent VmStoppingEvent
MethodFault RuntimeFault InvalidArgument InvalidRequest InvalidLogin NotAuthenticated NoPermission NotSupported NotImplemented MethodNotFound ManagedObjectNotFound InvalidPowerState InvalidState TaskInProgress ConcurrentAccess
DuplicateName InvalidName FileFault FileNotFound FileAlreadyExists FileLocked CannotAccessFile NoDiskSpace InvalidDatastore InvalidDatastorePath InsufficientResourcesFault InsufficientMemoryResourcesFault InsufficientHostCapacityFault NotEnoughCpus InvalidDeviceSpec InvalidDeviceBacking InvalidDeviceOperation DeviceNotFound DeviceUnsupportedForVmPlatform
InvalidProperty InvalidCollectorVersion InvalidType RequestCanceled SystemError GenericVmConfigFault VmConfigFault InvalidVmConfig NotFound AlreadyExists HostConfigFault ResourceInUse InvalidFolder ToolsUnavailable HostCommunication HostNotReachable SecurityError AuthMinimumAdminPermission Timedout OutOfBounds GenericDrsFault DatastoreNotWritableOnHost UnexpectedFault
VirtualMachineDefaultProfileSpec VirtualMachineEmptyProfileSpec ClusterComputeResourceSummary HostVirtualSwitchBondBridge VirtualAppSummary ResourcePoolSummary NetworkSummary OpaqueNetworkSummary VirtualMachineConfigSpec TaskInfo UpdateSet LocalizedMethodFault
ResourceAllocationInfo VmDiskFileInfo LocalDatastoreInfo VmfsDatastoreInfo NasDatastoreInfo
`
  .trim()
  .split(/\s+/);

/** Managed objects and their properties. */
export const MANAGED_OBJECTS: Record<string, string> = {
  ServiceInstance: 'serverClock capability content',
  ManagedEntity: 'parent name',
  Folder: 'parent name childType childEntity',
  Datacenter: 'parent name vmFolder hostFolder datastoreFolder networkFolder datastore network',
  ComputeResource: 'parent name resourcePool host datastore network summary',
  ClusterComputeResource: 'parent name resourcePool host datastore network summary',
  HostSystem: 'parent name runtime summary hardware configManager vm datastore network datastoreBrowser',
  ResourcePool: 'parent name summary runtime owner resourcePool vm config',
  VirtualApp: 'parent name summary runtime owner resourcePool vm config',
  Datastore: 'parent name info summary host vm browser capability',
  Network: 'parent name summary host vm',
  DistributedVirtualPortgroup: 'parent name summary host vm key',
  VirtualMachine:
    'parent name capability config environmentBrowser resourcePool parentVApp runtime guest summary datastore network layoutEx guestHeartbeatStatus',
  Task: 'info',
  TaskManager: 'recentTask maxCollector',
  EventManager: 'latestEvent maxCollector',
  EventHistoryCollector: 'filter latestPage',
  TaskHistoryCollector: 'filter latestPage',
  PropertyCollector: 'filter',
  PropertyFilter: 'spec partialUpdates',
  ContainerView: 'view container type recursive',
  ListView: 'view',
  ViewManager: 'viewList',
  SessionManager: 'currentSession',
  HostNetworkSystem: 'networkInfo',
  OptionManager: 'setting',
  HostDatastoreBrowser: 'datastore',
};

/** Left out where reached: large parts of the model that nobody here looks at. */
export const CUT = new Set([
  'HostNetworkInfo',
  'HostConfigInfo',
  'HostListSummaryGatewaySummary',
  'ClusterConfigInfoEx',
  'VirtualMachineProfileDetails',
  'CustomizationSpec',
  'HostProfileManager',
  'DasVmPriority',
  'VmConfigInfo',
  'VAppConfigInfo',
  'VmConfigSpec',
  'VAppConfigSpec',
  'HostLicensableResourceInfo',
  'HostFaultToleranceManagerComponentHealthInfo',
  'HostHardwareStatusInfo',
  'HealthSystemRuntime',
  'VsanHostRuntimeInfo',
  'VirtualMachineProfileRawData',
  'CryptoSpec',
  'VirtualMachineSgxInfo',
  'FaultToleranceConfigInfo',
  'FaultToleranceConfigSpec',
]);
