/**
 * Errors as values with a kind. The kind is chosen where the cause is known; it becomes an HTTP status in exactly one
 * place (`appliance/docker`) and a vim25 fault in exactly one place (`src/hostd`).
 */

/** What went wrong, in terms every layer understands. */
export type ErrorKind =
  | 'notFound'
  | 'conflict'
  | 'invalid'
  | 'unauthorized'
  | 'forbidden'
  | 'notModified'
  | 'unsupported'
  | 'unavailable'
  | 'insufficientResources'
  | 'overloaded'
  | 'timeout'
  | 'cancelled'
  | 'internal';

/** An error of a known kind with a message fit for the user. */
export class CaissonError extends Error {
  override readonly name = 'CaissonError';
  constructor(
    readonly kind: ErrorKind,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

const make =
  (kind: ErrorKind) =>
  (message: string, cause?: unknown): CaissonError =>
    new CaissonError(kind, message, cause === undefined ? undefined : { cause });

export const notFound = make('notFound');
export const conflict = make('conflict');
export const invalid = make('invalid');
export const unauthorized = make('unauthorized');
export const forbidden = make('forbidden');
export const notModified = make('notModified');
export const unsupported = make('unsupported');
export const unavailable = make('unavailable');
export const insufficientResources = make('insufficientResources');
export const overloaded = make('overloaded');
export const timeout = make('timeout');
export const cancelled = make('cancelled');
export const internal = make('internal');

/** The kind of any thrown value: `internal` for what is not a {@link CaissonError}, `cancelled` for an aborted signal. */
export function kindOf(error: unknown): ErrorKind {
  if (error instanceof CaissonError) return error.kind;
  if (error instanceof Error && error.name === 'AbortError') return 'cancelled';
  return 'internal';
}

/** True when `error` is a {@link CaissonError} of `kind`. */
export function isKind(error: unknown, kind: ErrorKind): boolean {
  return error instanceof CaissonError && error.kind === kind;
}

/** The message of any thrown value, for logs and error bodies. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error (`ENOENT`, …), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}
