/** What every managed entity has besides what is its own, and other extensible objects of it. */
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
    // Role -1: administrator. Who is logged in to this host may do everything.
    case 'effectiveRole':
      return [-1];
    case 'configIssue':
    case 'customValue':
    case 'permission':
    case 'disabledMethod':
    case 'declaredAlarmState':
    case 'triggeredAlarmState':
    case 'tag':
      return [];
    default:
      return undefined;
  }
}
