/** What the guest reports about its run in `guestinfo.caisson.run.status` (see docs/internals/guest-rpc.md). */
import { type ErrorRecord, type ErrorSubject, errorRecord, isCode, PortLayerError } from '../errors.js';

export const STATUS_KEY = 'guestinfo.caisson.run.status';
/** Exit code of a run whose VM was killed: that of SIGKILL. */
export const KILLED = 137;

/** A parsed status. */
export type RunStatus =
  | { kind: 'none' }
  | { kind: 'started'; at: Date; pid: number }
  | { kind: 'failed'; code: number; message: string }
  | { kind: 'exited'; code: number; oomKilled: boolean; at: Date };

/** Parses a status; anything but the known forms is `none`. */
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

/** A guest may set its clock as it likes, but a date must be one that the API can show. */
function time(ns: string | undefined): Date {
  return new Date(/^\d{1,19}$/.test(ns ?? '') ? Number(BigInt(ns!) / 1_000_000n) : 0);
}

/** How a run ended. */
export interface Outcome {
  exitCode: number;
  oomKilled: boolean;
  error: ErrorRecord | null;
  finishedAt: Date;
}

/** Taken from what the guest could still report. A VM that was killed reports nothing: {@link KILLED}, at `fallback`. */
export function outcome(status: RunStatus, fallback: { at: Date; exitCode: number; oomKilled?: boolean }): Outcome {
  switch (status.kind) {
    case 'exited':
      return { exitCode: status.code, oomKilled: status.oomKilled, error: null, finishedAt: status.at };
    case 'failed':
      return {
        exitCode: status.code,
        oomKilled: false,
        error: errorRecord(notStarted('container', status.code, status.message)),
        finishedAt: fallback.at,
      };
    default:
      return {
        exitCode: fallback.exitCode,
        oomKilled: fallback.oomKilled ?? false,
        error: null,
        finishedAt: fallback.at,
      };
  }
}

/** What is wrong with an environment; undefined: nothing. An exec's is checked when it starts. */
export function environmentProblem(
  env: readonly string[],
): Pick<ErrorSubject<'process.badEnvironment'>, 'problem' | 'entry'> | undefined {
  for (const entry of env) {
    if (entry.startsWith('=')) return { problem: 'noName', entry };
    if (entry.includes('\0')) return { problem: 'nul', entry };
  }
  return undefined;
}

/** Why the guest could not start a process. It looks up users and groups itself. */
export function notStarted(of: 'container' | 'exec', exitCode: number, reason: string): PortLayerError {
  const unknownUser = reason.startsWith('unable to find ') || reason.startsWith('uids and gids ');
  return new PortLayerError(unknownUser ? 'process.unknownUser' : 'process.notStarted', { of, exitCode, reason });
}

/** True for an error made by {@link notStarted}: the guest itself says that the process does not run. */
export function isGuestsWord(error: Error): boolean {
  return isCode(error, 'process.notStarted') || isCode(error, 'process.unknownUser');
}
