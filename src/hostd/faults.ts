/** vim25 faults as exceptions. This file alone decides which fault an error of ours becomes. */
import { type CaissonError, type ErrorKind, kindOf, messageOf } from '../common/errors.js';
import type { Fault } from '../vim25/server.js';

/** Operations throw this to answer with a fault. */
export class FaultError extends Error {
  constructor(
    readonly fault: Fault,
    message: string,
  ) {
    super(message);
  }
}

/** A fault of that type. @param elements those its type requires */
export function fault(type: string, message: string, elements: Record<string, unknown> = {}): FaultError {
  return new FaultError({ $type: type, ...elements }, message);
}

const FAULTS: Partial<Record<ErrorKind, (error: CaissonError) => FaultError>> = {
  notFound: ({ message }) => fault('FileNotFound', message, { file: message }),
  conflict: ({ message }) => fault('FileAlreadyExists', message, { file: message }),
  invalid: ({ message }) => fault('InvalidArgument', message),
  unsupported: ({ message }) => fault('NotSupported', message),
  insufficientResources: ({ message }) =>
    fault('InsufficientMemoryResourcesFault', message, { unreserved: 0, requested: 0 }),
  cancelled: ({ message }) => fault('RequestCanceled', message),
};

/** Any thrown value as a fault. */
export function toFault(error: unknown): FaultError {
  if (error instanceof FaultError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  if (code === 'ENOENT') return fault('FileNotFound', messageOf(error), { file: messageOf(error) });
  if (code === 'EEXIST' || code === 'ENOTEMPTY')
    return fault('FileAlreadyExists', messageOf(error), { file: messageOf(error) });
  if (code === 'ENOSPC') return fault('NoDiskSpace', 'the datastore is full', { file: '', datastore: 'datastore1' });
  const convert = FAULTS[kindOf(error)];
  return convert === undefined
    ? fault('SystemError', messageOf(error), { reason: messageOf(error) })
    : convert(error as CaissonError);
}
