/**
 * The errors of the port layer: a kind, a code and the subject. The message is plain English for logs; what a user of Docker
 * reads is chosen from the code in one place, `appliance/docker/words`. A code is part of the port layer's contract, its
 * message is not.
 *
 * Two sorts of errors carry no code: `cancelled`, and `internal` for an invariant that does not hold.
 */
import { CaissonError, conflict, type ErrorKind, kindOf, messageOf } from '../src/common/errors.js';
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
  if (error instanceof StartError) return error.exitCode;
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
  if (known === undefined) return new CaissonError(kind, message);
  return new PortLayerError(known.code, known.subject as ErrorSubject<ErrorCode>);
}

/** The container's (or exec's) process could not be started. */
export class StartError extends CaissonError {
  constructor(
    /** 127 not found, 126 not executable, 128 otherwise: what the docker CLI ends with. */
    readonly exitCode: number,
    message: string,
  ) {
    super('invalid', message);
  }
}

/** A container's name is another container's, in Docker's words. */
export function nameTaken(name: string, holder: string): CaissonError {
  return conflict(
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
}
