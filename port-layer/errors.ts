/**
 * The errors of the port layer: a kind, a code and the subject. The message is plain English for logs; what a user of Docker
 * reads is chosen from the code in one place, `appliance/docker/words`. A code is part of the port layer's contract, its
 * message is not.
 *
 * Two sorts of errors carry no code: `cancelled`, and `internal` for an invariant that does not hold.
 */
import { CaissonError, type ErrorKind, kindOf, messageOf } from '../src/common/errors.js';
import { CODES } from './error-codes.js';

export type { ArchiveEntry, RemovalHinders } from './error-codes.js';

export type ErrorCode = keyof typeof CODES;
/** What an error of that code is about. */
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

/** True for an error of that code; its subject has the code's type then. */
export function isCode<C extends ErrorCode>(error: unknown, wanted: C): error is PortLayerError<C> {
  return error instanceof PortLayerError && error.code === wanted;
}

/** What a process that this error kept from starting would have ended with. */
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

/** What of an error is kept, or told to another process. */
export function errorRecord(error: unknown): ErrorRecord {
  const record = { kind: kindOf(error), message: messageOf(error) };
  if (!(error instanceof PortLayerError)) return record;
  const { code, subject }: PortLayerError = error;
  return { ...record, known: { code, subject } };
}

/** The error that a record is of. */
export function errorOf({ kind, message, known }: ErrorRecord): CaissonError {
  // It may be of a version that knows more codes: its message can be read.
  if (known === undefined || !(known.code in CODES)) return new CaissonError(kind, message);
  return new PortLayerError(known.code, known.subject as ErrorSubject<ErrorCode>);
}
