/**
 * Which privilege each operation needs (vSphere API reference, "Required Privileges" of each method). An operation that is not listed here
 * is refused to everybody. There is more for callers who are not administrators: they must be able to see the object and every object named
 * in the arguments, and each file (`file-access.ts`) and each VM's configuration (`machine-access.ts`) is checked.
 */
export interface Rule {
  privilege: string;
  /** The object on which it is needed, if not the one that is called. */
  on?: 'datastore' | 'host' | 'root';
  /** Arguments that are objects, and the privilege needed on them. */
  arguments?: Readonly<Record<string, string>>;
}

/** For whoever sees the object. Only the session itself sees its objects. */
const SEEN: Rule = { privilege: 'System.View' };
const onDatastore = (privilege: string): Rule => ({ privilege, on: 'datastore' });
const onHost = (privilege: string): Rule => ({ privilege, on: 'host' });
const onRoot = (privilege: string): Rule => ({ privilege, on: 'root' });
const machine = (privilege: string): Rule => ({ privilege: `VirtualMachine.${privilege}` });

const seen = (...operations: string[]): [string, Rule][] => operations.map((operation) => [operation, SEEN]);

/** By name, or by `Type.name` where types differ. */
const RULES = new Map<string, Rule>([
  // Properties that the caller may not read are left out.
  ...seen('Fetch', 'RetrieveProperties', 'RetrievePropertiesEx', 'ContinueRetrievePropertiesEx'),
  ...seen('CancelRetrievePropertiesEx', 'CreateFilter', 'DestroyPropertyFilter', 'WaitForUpdates', 'WaitForUpdatesEx'),
  ...seen('CheckForUpdates', 'CancelWaitForUpdates', 'CreatePropertyCollector', 'DestroyPropertyCollector'),
  ...seen('CreateContainerView', 'CreateListView', 'DestroyView', 'ModifyListView', 'ResetListView'),
  ...seen('ResetListViewFromView'),
  // Objects that the caller may not see are left out of the results.
  ...seen('FindByUuid', 'FindAllByUuid', 'FindByInventoryPath', 'FindByIp', 'FindByDnsName', 'FindChild'),
  ...seen('FindByDatastorePath'),
  ...seen('RetrieveServiceContent', 'CurrentTime', 'Login', 'Logout'),
  ...seen('QueryEvents', 'CreateCollectorForEvents', 'ReadNextEvents', 'ReadPreviousEvents', 'SetCollectorPageSize'),
  ...seen('ResetCollector', 'RewindCollector', 'DestroyCollector', 'CancelTask'),
  // The caller's own, unless the caller may change permissions.
  ...seen('HasPrivilegeOnEntities', 'HasUserPrivilegeOnEntities', 'FetchUserPrivilegeOnEntities'),
  ...seen('RetrieveEntityPermissions', 'RetrieveAllPermissions', 'RetrieveRolePermissions'),

  ['SessionIsActive', onRoot('Sessions.ValidateSession')],
  ['TerminateSession', onRoot('Sessions.TerminateSession')],
  ['SetEntityPermissions', { ...SEEN, arguments: { entity: 'Authorization.ModifyPermissions' } }],
  ['RemoveEntityPermission', { ...SEEN, arguments: { entity: 'Authorization.ModifyPermissions' } }],
  ['AddAuthorizationRole', onRoot('Authorization.ModifyRoles')],
  ['UpdateAuthorizationRole', onRoot('Authorization.ModifyRoles')],
  ['RemoveAuthorizationRole', onRoot('Authorization.ModifyRoles')],
  ['CreateUser', onHost('Host.Local.ManageUserGroups')],
  ['UpdateUser', onHost('Host.Local.ManageUserGroups')],
  ['RemoveUser', onHost('Host.Local.ManageUserGroups')],
  ['AddPortGroup', onHost('Host.Config.Network')],
  ['UpdatePortGroup', onHost('Host.Config.Network')],
  ['RemovePortGroup', onHost('Host.Config.Network')],

  ['CreateFolder', { privilege: 'Folder.Create' }],
  ['CreateVM_Task', { ...machine('Inventory.Create'), arguments: { pool: 'Resource.AssignVMToPool' } }],
  ['RegisterVM_Task', { ...machine('Inventory.Register'), arguments: { pool: 'Resource.AssignVMToPool' } }],
  ['CreateResourcePool', { privilege: 'Resource.CreatePool' }],
  ['UpdateConfig', { privilege: 'Resource.EditPool' }],
  ['ResourcePool.Destroy_Task', { privilege: 'Resource.DeletePool' }],
  ['ResourcePool.Rename_Task', { privilege: 'Resource.RenamePool' }],

  ['PowerOnVM_Task', machine('Interact.PowerOn')],
  ['PowerOffVM_Task', machine('Interact.PowerOff')],
  ['ResetVM_Task', machine('Interact.Reset')],
  ['SuspendVM_Task', machine('Interact.Suspend')],
  ['AnswerVM', machine('Interact.AnswerQuestion')],
  ['ShutdownGuest', machine('Interact.PowerOff')],
  ['RebootGuest', machine('Interact.Reset')],
  // The privileges depend on what is changed.
  ['ReconfigVM_Task', { privilege: 'System.Read' }],
  ['VirtualMachine.Rename_Task', machine('Config.Rename')],
  ['VirtualMachine.Destroy_Task', machine('Inventory.Delete')],
  ['UnregisterVM', machine('Inventory.Unregister')],
  ['CreateSnapshot_Task', machine('State.CreateSnapshot')],
  ['CloneVM_Task', machine('Provisioning.Clone')],
  ['MarkAsTemplate', machine('Provisioning.MarkAsTemplate')],
  ['RelocateVM_Task', { privilege: 'Resource.ColdMigrate' }],

  ['MakeDirectory', onDatastore('Datastore.FileManagement')],
  ['DeleteDatastoreFile_Task', onDatastore('Datastore.FileManagement')],
  ['MoveDatastoreFile_Task', onDatastore('Datastore.FileManagement')],
  ['CopyDatastoreFile_Task', onDatastore('Datastore.FileManagement')],
  ['CreateVirtualDisk_Task', onDatastore('Datastore.FileManagement')],
  ['DeleteVirtualDisk_Task', onDatastore('Datastore.FileManagement')],
  ['CopyVirtualDisk_Task', onDatastore('Datastore.FileManagement')],
  ['MoveVirtualDisk_Task', onDatastore('Datastore.FileManagement')],
  ['ExtendVirtualDisk_Task', onDatastore('Datastore.FileManagement')],
  ['SearchDatastore_Task', onDatastore('Datastore.Browse')],
  ['SearchDatastoreSubFolders_Task', onDatastore('Datastore.Browse')],
  ['RefreshDatastore', { privilege: 'System.Read' }],
  ['RefreshDatastoreStorageInfo', { privilege: 'System.Read' }],
]);

/** The rule of an operation on an object of a type; undefined if there is none, so that nobody may call it. */
export function ruleOf(type: string, operation: string): Rule | undefined {
  return RULES.get(`${type}.${operation}`) ?? RULES.get(operation);
}
