/** What every managed entity has besides what is its own, and other extensible objects of it. */
import { currentCaller } from '../access/caller.js';
import type { ManagedObject } from './managed-object.js';

/** A property of ManagedEntity or ExtensibleManagedObject (vSphere API reference) that the object itself says nothing of. */
export function inheritedProperty(object: ManagedObject, name: string): unknown {
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
