/** References to managed objects, among them those to the objects that every host has. */
import type { ManagedObjectReference } from '../vim25/server.js';

export function ref(type: string, value: string): ManagedObjectReference {
  return { type, value };
}

/** True for a value that is a reference to a managed object. */
export function isReference(value: unknown): value is ManagedObjectReference {
  if (typeof value !== 'object' || value === null) return false;
  const { type, value: id } = value as { type?: unknown; value?: unknown };
  return typeof type === 'string' && typeof id === 'string';
}

/** The inventory of a single host: one datacenter with a folder for each kind of entity. */
export const ROOT_FOLDER = ref('Folder', 'ha-folder-root');
export const DATACENTER = ref('Datacenter', 'ha-datacenter');
export const VM_FOLDER = ref('Folder', 'ha-folder-vm');
export const HOST_FOLDER = ref('Folder', 'ha-folder-host');
export const DATASTORE_FOLDER = ref('Folder', 'ha-folder-datastore');
export const NETWORK_FOLDER = ref('Folder', 'ha-folder-network');
export const COMPUTE_RESOURCE = ref('ComputeResource', 'ha-compute-res');
export const HOST_SYSTEM = ref('HostSystem', 'ha-host');
export const ROOT_POOL = ref('ResourcePool', 'ha-root-pool');
export const DATASTORE_REF = ref('Datastore', 'datastore1');
export const ENVIRONMENT_BROWSER = ref('EnvironmentBrowser', 'ha-env-browser');
export const DATASTORE_BROWSER = ref('HostDatastoreBrowser', 'ha-datastorebrowser');
export const NETWORK_SYSTEM = ref('HostNetworkSystem', 'networkSystem');
export const AUTO_START_MANAGER = ref('HostAutoStartManager', 'ha-autostart-mgr');

/** The services that a client finds in ServiceContent. */
export const PROPERTY_COLLECTOR = ref('PropertyCollector', 'ha-property-collector');
export const VIEW_MANAGER = ref('ViewManager', 'ViewManager');
export const SESSION_MANAGER = ref('SessionManager', 'ha-sessionmgr');
export const AUTHORIZATION_MANAGER = ref('AuthorizationManager', 'ha-authmgr');
export const ACCOUNT_MANAGER = ref('HostLocalAccountManager', 'ha-localacctmgr');
export const EVENT_MANAGER = ref('EventManager', 'ha-eventmgr');
export const TASK_MANAGER = ref('TaskManager', 'ha-taskmgr');
export const SEARCH_INDEX = ref('SearchIndex', 'ha-searchindex');
export const FILE_MANAGER = ref('FileManager', 'ha-nfc-file-manager');
export const VIRTUAL_DISK_MANAGER = ref('VirtualDiskManager', 'ha-vdiskmanager');

/** A datastore, by its name. */
export function datastoreRef(name: string): ManagedObjectReference {
  return ref('Datastore', name);
}

/** The browser of a datastore that is not {@link DATASTORE_REF}, whose browser serves all paths that it is asked for too. */
export function datastoreBrowserRef(name: string): ManagedObjectReference {
  return name === DATASTORE_REF.value ? DATASTORE_BROWSER : ref('HostDatastoreBrowser', `${name}-datastorebrowser`);
}

/** The network of a port group. */
export function networkRef(portGroup: string): ManagedObjectReference {
  return ref('Network', `HaNetwork-${portGroup}`);
}
