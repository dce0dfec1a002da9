/** What every managed entity has, besides what is its own. */
import type { ManagedObject } from './managed-object.js';

/** A property of ManagedEntity (vSphere API reference) that the entity itself says nothing of. */
export function entityProperty(entity: ManagedObject, name: string): unknown {
  switch (name) {
    case 'overallStatus':
    case 'configStatus':
      return 'green';
    case 'recentTask':
      return entity.recentTasks;
    case 'alarmActionsEnabled':
      return true;
    // Role -1: administrator. Who is logged in to this host may do everything.
    case 'effectiveRole':
      return [-1];
    case 'configIssue':
    case 'customValue':
    case 'value':
    case 'availableField':
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
