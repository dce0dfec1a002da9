/** vim25 faults as errors, and which kind of error each fault is. */
import { CaissonError, type ErrorKind } from '../common/errors.js';
import type { Fault } from './soap-message.js';
import { isSubtype } from './table.js';

/** The server answered with a fault. `fault` is null when it gave no detail. */
export class VimFault extends CaissonError {
  constructor(
    readonly operation: string,
    readonly fault: Fault | null,
    message: string,
  ) {
    super(kindOfFault(fault?.$type), `${message === '' ? (fault?.$type ?? 'unknown fault') : message} (${operation})`);
  }

  /** True when the fault is of that type or derived from it. */
  is(type: string): boolean {
    return this.fault !== null && isSubtype(this.fault.$type, type);
  }
}

/** The first match counts, so derived types come before their bases. */
const KINDS: [string, ErrorKind][] = [
  ['FileNotFound', 'notFound'],
  ['ManagedObjectNotFound', 'notFound'],
  ['NotFound', 'notFound'],
  ['UserNotFound', 'notFound'],
  ['FileAlreadyExists', 'conflict'],
  ['AlreadyExists', 'conflict'],
  ['DuplicateName', 'conflict'],
  ['ConcurrentAccess', 'conflict'],
  ['TaskInProgress', 'conflict'],
  ['ResourceInUse', 'conflict'],
  ['InvalidState', 'conflict'],
  ['FileLocked', 'conflict'],
  ['InsufficientResourcesFault', 'insufficientResources'],
  ['NoDiskSpace', 'insufficientResources'],
  ['InvalidLogin', 'unauthorized'],
  ['NotAuthenticated', 'unauthorized'],
  ['NoPermission', 'forbidden'],
  ['SecurityError', 'forbidden'],
  ['RestrictedByAdministrator', 'forbidden'],
  ['RequestCanceled', 'cancelled'],
  ['Timedout', 'timeout'],
  ['NotSupported', 'unsupported'],
  ['NotImplemented', 'unsupported'],
  ['MethodNotFound', 'unsupported'],
  ['InvalidArgument', 'invalid'],
  ['InvalidRequest', 'invalid'],
  ['InvalidName', 'invalid'],
  ['InvalidDatastorePath', 'invalid'],
  ['VmConfigFault', 'invalid'],
  ['InvalidProperty', 'invalid'],
  ['OutOfBounds', 'invalid'],
  ['CannotAccessFile', 'unavailable'],
  ['InvalidDatastore', 'unavailable'],
  ['ToolsUnavailable', 'unavailable'],
  ['HostCommunication', 'unavailable'],
];

function kindOfFault(type: string | undefined): ErrorKind {
  if (type === undefined) return 'internal';
  return KINDS.find(([base]) => isSubtype(type, base))?.[1] ?? 'internal';
}
