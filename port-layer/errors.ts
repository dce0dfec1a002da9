/**
 * The errors of the port layer: a kind, a code and a subject. The message is plain English for logs; what a user of Docker reads is chosen
 * from the code in one place, `appliance/docker/words`. A code is part of the port layer's contract, its message is not.
 *
 * Two sorts of errors carry no code: `cancelled`, and `internal` for an invariant that does not hold.
 */
import { CaissonError, type ErrorKind, kindOf, messageOf } from '../src/common/errors.js';
import { CODES } from './error-codes.js';

export type { ArchiveEntry, RemovalHinders } from './error-codes.js';

export type ErrorCode = keyof typeof CODES;
/** What an error with this code is about. */
export type ErrorSubject<C extends ErrorCode> = Parameters<(typeof CODES)[C]['message']>[0];

/** An error of the port layer. Its kind and its message follow from the code and the subject. */
export class PortLayerError<C extends ErrorCode = ErrorCode> extends CaissonError {
  constructor(
    readonly code: C,
    readonly subject: ErrorSubject<C>,
    cause?: unknown,
  ) {
    const { kind, message } = CODES[code] as { kind: ErrorKind; message: (subject: ErrorSubject<C>) => string };
    super(kind, message(subject), cause === undefined ? undefined : { cause });
  }
}

/** True for an error with this code, whose subject then has the code's type. */
export function isCode<C extends ErrorCode>(error: unknown, wanted: C): error is PortLayerError<C> {
  return error instanceof PortLayerError && error.code === wanted;
}

/** The exit code of a process that this error kept from starting. */
export function exitCodeOf(error: unknown): number {
  const subject: object = error instanceof PortLayerError ? (error as PortLayerError).subject : {};
  return 'exitCode' in subject && typeof subject.exitCode === 'number' ? subject.exitCode : 128;
}

/** An error as plain data: in a container's state, and on its way to another process. */
export interface ErrorRecord {
  kind: ErrorKind;
  message: string;
  /** Of a {@link PortLayerError}. */
  known?: { code: ErrorCode; subject: object };
}

/** The part of an error that is stored, or told to another process. */
export function errorRecord(error: unknown): ErrorRecord {
  const record = { kind: kindOf(error), message: messageOf(error) };
  if (!(error instanceof PortLayerError)) return record;
  const { code, subject }: PortLayerError = error;
  return { ...record, known: { code, subject } };
}

/** The error that a record describes. */
export function errorOf({ kind, message, known }: ErrorRecord): CaissonError {
  // It may come from a version that knows more codes; its message is still readable.
  if (known === undefined || !(known.code in CODES)) return new CaissonError(kind, message);
  return new PortLayerError(known.code, known.subject as ErrorSubject<ErrorCode>);
}
