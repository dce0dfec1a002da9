/** What a client that is not logged in is told of properties. */
import { type ManagedObjectReference, type PropertyFilterSpec, propertyNames } from '../../../vim25/server.js';

/**
 * The objects asked for by name, with all that was asked of them missing. vSphere answers so rather than with a fault, and govc finds
 * out in this way whether it must log in.
 */
export function notAuthenticated(specs: PropertyFilterSpec[]): object[] {
  return specs.flatMap((spec) =>
    (spec.objectSet ?? []).map(({ obj }) => ({
      obj,
      missingSet: missingPaths(spec, obj).map((path) => ({
        path,
        fault: {
          fault: { $type: 'NotAuthenticated', object: obj, privilegeId: 'System.View' },
          localizedMessage: 'The session is not authenticated.',
        },
      })),
    })),
  );
}

function missingPaths(spec: PropertyFilterSpec, { type }: ManagedObjectReference): string[] {
  const sets = (spec.propSet ?? []).filter((set) => set.type === type || set.type === 'ManagedEntity');
  const paths = sets.flatMap((set) => (set.all === true ? propertyNames(type) : (set.pathSet ?? [])));
  return [...new Set(paths)];
}
