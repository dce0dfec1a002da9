/** ServiceInstance: where every client begins. */
import type { AboutInfo, ServiceContent } from '../../vim25/server.js';
import { ManagedObject } from '../objects/managed-object.js';
import {
  ACCOUNT_MANAGER,
  AUTHORIZATION_MANAGER,
  EVENT_MANAGER,
  FILE_MANAGER,
  PROPERTY_COLLECTOR,
  ROOT_FOLDER,
  SEARCH_INDEX,
  SESSION_MANAGER,
  TASK_MANAGER,
  VIEW_MANAGER,
  VIRTUAL_DISK_MANAGER,
} from '../references.js';

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
      rootFolder: ROOT_FOLDER,
      propertyCollector: PROPERTY_COLLECTOR,
      viewManager: VIEW_MANAGER,
      about: this.about,
      sessionManager: SESSION_MANAGER,
      authorizationManager: AUTHORIZATION_MANAGER,
      accountManager: ACCOUNT_MANAGER,
      eventManager: EVENT_MANAGER,
      taskManager: TASK_MANAGER,
      searchIndex: SEARCH_INDEX,
      fileManager: FILE_MANAGER,
      virtualDiskManager: VIRTUAL_DISK_MANAGER,
    };
  }

  CurrentTime(): Date {
    return new Date();
  }
}
