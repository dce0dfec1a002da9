/** ServiceInstance: where every client begins. */
import type { AboutInfo, ManagedObjectReference, ServiceContent } from '../../vim25/types.generated.js';
import { ManagedObject } from '../objects/managed-object.js';

const ref = (type: string, value: string): ManagedObjectReference => ({ type, value });

/** The entry point. */
export class ServiceInstance extends ManagedObject {
  constructor(private readonly about: AboutInfo) {
    super('ServiceInstance', 'ServiceInstance');
  }

  override get types(): string[] {
    return ['ServiceInstance'];
  }

  property(name: string): unknown {
    if (name === 'content') return this.RetrieveServiceContent();
    if (name === 'capability')
      return { provisioningSupported: false, multiHostSupported: false, userShellAccessSupported: false };
    return name === 'serverClock' ? new Date() : undefined;
  }

  propertyNames(): string[] {
    return ['content', 'capability', 'serverClock'];
  }

  RetrieveServiceContent(): ServiceContent {
    return {
      rootFolder: ref('Folder', 'ha-folder-root'),
      propertyCollector: ref('PropertyCollector', 'ha-property-collector'),
      viewManager: ref('ViewManager', 'ViewManager'),
      about: this.about,
      sessionManager: ref('SessionManager', 'ha-sessionmgr'),
      authorizationManager: ref('AuthorizationManager', 'ha-authmgr'),
      accountManager: ref('HostLocalAccountManager', 'ha-localacctmgr'),
      eventManager: ref('EventManager', 'ha-eventmgr'),
      taskManager: ref('TaskManager', 'ha-taskmgr'),
      searchIndex: ref('SearchIndex', 'ha-searchindex'),
      fileManager: ref('FileManager', 'ha-nfc-file-manager'),
      virtualDiskManager: ref('VirtualDiskManager', 'ha-vdiskmanager'),
    };
  }

  CurrentTime(): Date {
    return new Date();
  }
}
