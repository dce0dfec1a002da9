/** What the guest reports of its run, as it stands in `guestinfo.caisson.run.status` (see docs/internals/guest-rpc.md). */
import { StartError } from '../errors.js';

export const STATUS_KEY = 'guestinfo.caisson.run.status';
/** What runc and the daemon put before the cause, and clients look for. */
const START_PREFIX =
  'failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ';
/** Exit code of a run whose VM was killed: as of SIGKILL. */
export const KILLED = 137;

/** A parsed status. */
export type RunStatus =
  | { kind: 'none' }
  | { kind: 'started'; at: Date; pid: number }
  | { kind: 'failed'; code: number; message: string }
  | { kind: 'exited'; code: number; oomKilled: boolean; at: Date };

/** Parses; anything else than the known forms is `none`. */
export function parseRunStatus(text: string | undefined): RunStatus {
  const [kind, ...rest] = (text ?? '').split(' ');
  switch (kind) {
    case 'started':
      return { kind, at: time(rest[0]), pid: number(rest[1]) };
    case 'failed':
      return { kind, code: number(rest[0]) & 0xff || 128, message: rest.slice(1).join(' ') };
    case 'exited':
      return { kind, code: number(rest[0]) & 0xff, oomKilled: rest[2] === '1', at: time(rest[3]) };
    default:
      return { kind: 'none' };
  }
}

function number(text: string | undefined): number {
  return /^\d{1,10}$/.test(text ?? '') ? Number(text) : 0;
}

/** A guest's clock is its own affair, but a date must be one that the API can show. */
function time(ns: string | undefined): Date {
  return new Date(/^\d{1,19}$/.test(ns ?? '') ? Number(BigInt(ns!) / 1_000_000n) : 0);
}

/** How a run ended. */
export interface Outcome {
  exitCode: number;
  oomKilled: boolean;
  error: string;
  finishedAt: Date;
}

/** From what the guest could still say. A VM that was killed says nothing: {@link KILLED}, at `fallback`. */
export function outcome(status: RunStatus, fallback: { at: Date; exitCode: number; oomKilled?: boolean }): Outcome {
  switch (status.kind) {
    case 'exited':
      return { exitCode: status.code, oomKilled: status.oomKilled, error: '', finishedAt: status.at };
    case 'failed':
      return {
        exitCode: status.code,
        oomKilled: false,
        error: startError(status.code, status.message).message,
        finishedAt: fallback.at,
      };
    default:
      return {
        exitCode: fallback.exitCode,
        oomKilled: fallback.oomKilled ?? false,
        error: '',
        finishedAt: fallback.at,
      };
  }
}

/** Whether what the guest says is of the user or group that a process was to run as: Docker finds that out itself. */
export function isUserProblem(message: string): boolean {
  return message.startsWith('unable to find ') || message.startsWith('uids and gids ');
}

/** What Docker adds where something on the way to a path is no directory. */
const MOUNT_HINT =
  ': Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type';

/** What is wrong with an environment, in runc's words: an exec's is looked at when it starts. Undefined: nothing. */
export function environmentProblem(env: readonly string[]): string | undefined {
  for (const entry of env) {
    const quoted = (): string => JSON.stringify(entry).replaceAll('\\u0000', '\\x00');
    if (entry.startsWith('=')) return `environment variable name can't be empty: ${quoted()}`;
    if (entry.includes('\0')) return `environment variable value can't contain null(\\x00): ${quoted()}`;
  }
  return undefined;
}

/** What the guest says of a process it can't start, in Docker's words. */
export function startError(code: number, message: string): StartError {
  const directory = /^mkdir (.*): not a directory$/i.exec(message)?.[1];
  // What Docker finds out before it calls runc.
  if (directory !== undefined) return new StartError(code, `Cannot mkdir: ${directory} is not a directory`);
  if (isUserProblem(message)) return new StartError(code, message);
  const hint = /^exec: .*: not a directory$/s.test(message) ? MOUNT_HINT : '';
  return new StartError(code, `${START_PREFIX}${message}${hint}`);
}
