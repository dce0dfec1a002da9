/**
 * Which part of vim25 is generated: the operations we call or answer, the managed objects, and all types they reach, with all
 * subclasses where an element is polymorphic. Types that are used only as xsd:anyType (task results, say) are listed here.
 */

/** Operations by wire name. */
export const OPERATIONS = `
RetrieveServiceContent CurrentTime Login Logout SessionIsActive TerminateSession AcquireGenericServiceTicket
RetrieveProperties RetrievePropertiesEx ContinueRetrievePropertiesEx CancelRetrievePropertiesEx CreateFilter DestroyPropertyFilter
WaitForUpdates WaitForUpdatesEx CheckForUpdates CancelWaitForUpdates CreatePropertyCollector DestroyPropertyCollector
CreateContainerView CreateListView DestroyView ModifyListView ResetListView ResetListViewFromView
FindByUuid FindAllByUuid FindByInventoryPath FindByIp FindByDnsName FindChild FindByDatastorePath
CreateVM_Task CreateFolder RegisterVM_Task MoveIntoFolder_Task
PowerOnVM_Task PowerOffVM_Task ResetVM_Task SuspendVM_Task ShutdownGuest RebootGuest ReconfigVM_Task UnregisterVM
CreateSnapshot_Task RevertToCurrentSnapshot_Task RemoveSnapshot_Task RemoveAllSnapshots_Task CloneVM_Task MarkAsTemplate MarkAsVirtualMachine RelocateVM_Task AnswerVM
Destroy_Task Rename_Task Reload setCustomValue CreateResourcePool UpdateConfig DestroyChildren MoveIntoResourcePool
CreateChildVM_Task CreateVApp ImportVApp PowerOnMultiVM_Task QueryConnectionInfo
CancelTask CreateCollectorForTasks ReadNextTasks ReadPreviousTasks
HttpNfcLeaseProgress HttpNfcLeaseComplete HttpNfcLeaseAbort
QueryEvents CreateCollectorForEvents ReadNextEvents ReadPreviousEvents SetCollectorPageSize ResetCollector RewindCollector DestroyCollector
MakeDirectory DeleteDatastoreFile_Task MoveDatastoreFile_Task CopyDatastoreFile_Task SearchDatastore_Task SearchDatastoreSubFolders_Task
CreateVirtualDisk_Task DeleteVirtualDisk_Task CopyVirtualDisk_Task MoveVirtualDisk_Task ExtendVirtualDisk_Task QueryVirtualDiskUuid
AddPortGroup RemovePortGroup UpdatePortGroup AddDVPortgroup_Task AddVirtualSwitch RemoveVirtualSwitch RefreshDatastore RefreshDatastoreStorageInfo
QueryOptions UpdateOptions QueryPerfProviderSummary QueryAvailablePerfMetric QueryPerfCounter QueryPerf
HasPrivilegeOnEntities FetchUserPrivilegeOnEntities HasUserPrivilegeOnEntities RetrieveEntityPermissions
RetrieveAllPermissions RetrieveRolePermissions SetEntityPermissions RemoveEntityPermission
AddAuthorizationRole UpdateAuthorizationRole RemoveAuthorizationRole CreateUser UpdateUser RemoveUser
QueryAssignedLicenses AddCustomFieldDef RemoveCustomFieldDef SetField QueryConfigOption QueryConfigOptionEx QueryConfigTarget
PostEvent LogUserEvent
`
  .trim()
  .split(/\s+/);

/**
 * Operations that are not in any public description, but that every managed object answers: pyVmomi reads each property with `Fetch`
 * (pyVmomi 8, `VmomiSupport.py`; vSphere's own clients have always used it).
 */
export const UNDESCRIBED: Record<string, { args: [name: string, type: string][]; result: string }> = {
  Fetch: { args: [['prop', 'string']], result: 'anyType' },
};

/** Types that no declaration refers to. */
export const HIDDEN_TYPES = `
ArrayOfManagedObjectReference ArrayOfString ArrayOfInt ArrayOfByte ArrayOfOptionValue ArrayOfVirtualDevice
ArrayOfGuestNicInfo ArrayOfEvent ArrayOfTaskInfo ArrayOfObjectContent
HostDatastoreBrowserSearchResults ArrayOfHostDatastoreBrowserSearchResults ClusterPowerOnVmResult
VirtualAppSummary OpaqueNetworkSummary VmDiskFileInfo VirtualMachineGuestOsIdentifier
`
  .trim()
  .split(/\s+/);

/** Managed objects, with all their properties. */
export const MANAGED_OBJECTS = `
ServiceInstance SessionManager PropertyCollector PropertyFilter ViewManager ContainerView ListView
ManagedEntity Folder Datacenter ComputeResource ClusterComputeResource HostSystem ResourcePool VirtualApp Datastore
Network OpaqueNetwork DistributedVirtualPortgroup DistributedVirtualSwitch VirtualMachine VirtualMachineSnapshot EnvironmentBrowser
TaskManager Task TaskHistoryCollector EventManager EventHistoryCollector
HostNetworkSystem HostAutoStartManager HostDatastoreBrowser SearchIndex FileManager VirtualDiskManager OptionManager PerformanceManager LicenseManager LicenseAssignmentManager
AuthorizationManager HostLocalAccountManager CustomFieldsManager HttpNfcLease
`
  .trim()
  .split(/\s+/);

/** Large parts of the model that nothing here uses; they are left out wherever they are referred to. */
export const CUT = new Set([
  'HostListSummaryGatewaySummary',
  'ClusterConfigInfoEx',
  'VirtualMachineProfileDetails',
  'CustomizationSpec',
  'HostProfileManager',
  'DasVmPriority',
  'HostFaultToleranceManagerComponentHealthInfo',
  'HostHardwareStatusInfo',
  'VsanHostRuntimeInfo',
  'VirtualMachineProfileRawData',
  'CryptoSpec',
  'VirtualMachineSgxInfo',
  'FaultToleranceConfigInfo',
  'FaultToleranceConfigSpec',
  'ApplyHostProfileConfigurationSpec',
  'ApplyHostProfileConfigurationResult',
  'HostSystemRemediationState',
  'HostSystemComplianceCheckState',
  'ComplianceResult',
  'AnswerFileStatusResult',
  'HostSystemResourceInfo',
  'ClusterConfigInfo',
  'ClusterDrsRecommendation',
  'ClusterDrsMigration',
  'ClusterActionHistory',
  'ClusterDrsFaults',
  'ClusterRecommendation',
]);
