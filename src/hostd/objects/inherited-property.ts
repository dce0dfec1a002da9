/** Properties that every managed entity has besides its own; other extensible objects have some of them. */

import type { ManagedObjectReference } from '../../vim25/server.js';
import { currentCaller } from '../access/caller.js';
import type { GuardedObject } from '../access/guarded-object.js';

/** A property of ManagedEntity or ExtensibleManagedObject (vSphere API reference) that the object itself does not have. */
export function inheritedProperty(
  object: GuardedObject & { recentTasks: ManagedObjectReference[] },
  name: string,
): unknown {
  if (name === 'value' || name === 'availableField') return [];
  if (!object.isEntity()) return undefined;
  switch (name) {
    case 'overallStatus':
    case 'configStatus':
      return 'green';
    case 'recentTask':
      return object.recentTasks;
    case 'alarmActionsEnabled':
      return true;
    case 'effectiveRole':
      return currentCaller()?.rolesOn(object) ?? [];
    case 'permission':
      return currentCaller()?.permissionsOn(object) ?? [];
    case 'configIssue':
    case 'customValue':
    case 'disabledMethod':
    case 'declaredAlarmState':
    case 'triggeredAlarmState':
    case 'tag':
      return [];
    default:
      return undefined;
  }
}
