/** Roles: named sets of privileges, in vSphere's terms (vSphere API reference, AuthorizationManager and "Defined Privileges"). */

export const ADMINISTRATOR = -1;

/** The privileges of everybody who may look at an object. */
export const LOOKING: readonly string[] = ['System.Anonymous', 'System.View', 'System.Read'];

/** A set of privileges with a name. */
export interface Role {
  id: number;
  name: string;
  privileges: readonly string[];
}

/** The privileges that this host checks. A role may have others; they are kept but mean nothing here. */
export const PRIVILEGES: readonly string[] = [
  ...LOOKING,
  'Authorization.ModifyPermissions',
  'Authorization.ModifyRoles',
  'Datastore.AllocateSpace',
  'Datastore.Browse',
  'Datastore.FileManagement',
  'Folder.Create',
  'Host.Config.Network',
  'Host.Local.ManageUserGroups',
  'Network.Assign',
  'Resource.AssignVMToPool',
  'Resource.ColdMigrate',
  'Resource.CreatePool',
  'Resource.DeletePool',
  'Resource.EditPool',
  'Resource.RenamePool',
  'Sessions.TerminateSession',
  'Sessions.ValidateSession',
  'VirtualMachine.Config.AddExistingDisk',
  'VirtualMachine.Config.AddNewDisk',
  'VirtualMachine.Config.AddRemoveDevice',
  'VirtualMachine.Config.AdvancedConfig',
  'VirtualMachine.Config.Annotation',
  'VirtualMachine.Config.CPUCount',
  'VirtualMachine.Config.EditDevice',
  'VirtualMachine.Config.Memory',
  'VirtualMachine.Config.RemoveDisk',
  'VirtualMachine.Config.Rename',
  'VirtualMachine.Config.Resource',
  'VirtualMachine.Config.Settings',
  'VirtualMachine.Interact.AnswerQuestion',
  'VirtualMachine.Interact.PowerOff',
  'VirtualMachine.Interact.PowerOn',
  'VirtualMachine.Interact.Reset',
  'VirtualMachine.Interact.Suspend',
  'VirtualMachine.Inventory.Create',
  'VirtualMachine.Inventory.Delete',
  'VirtualMachine.Inventory.Register',
  'VirtualMachine.Inventory.Unregister',
  'VirtualMachine.Provisioning.Clone',
  'VirtualMachine.Provisioning.MarkAsTemplate',
  'VirtualMachine.State.CreateSnapshot',
];

/** The roles that every host has and that cannot be changed. */
export const SYSTEM_ROLES: readonly Role[] = [
  { id: ADMINISTRATOR, name: 'Admin', privileges: PRIVILEGES },
  { id: -2, name: 'ReadOnly', privileges: LOOKING },
  { id: -3, name: 'View', privileges: ['System.Anonymous', 'System.View'] },
  { id: -4, name: 'Anonymous', privileges: ['System.Anonymous'] },
  { id: -5, name: 'NoAccess', privileges: [] },
];
