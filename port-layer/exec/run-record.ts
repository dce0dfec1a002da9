/** What the port layer stores with a VM about its current or last run (key `caisson.run`), for a restarted endpoint to find. */

import type { ErrorRecord } from '../errors.js';
import { wholeEndpoint } from '../network/endpoints.js';
import type { NetworkEndpoint } from '../network/types.js';
import type { ContainerFacts, FoundRun, PastRun, Resting } from './container-life.js';
import { hasRun, restOf } from './container-life.js';
import { KILLED, outcome, type RunStatus } from './run-status.js';

export const RUN_KEY = 'caisson.run';
/** No machine takes longer than this from power-on to its first process: a process that began later belongs to another run. */
const LONGEST_START_MS = 300_000;

/** One run. */
export interface RunRecord {
  /** ISO 8601. What users see: decided once, before the machine is powered on, so that it never changes. */
  startedAt: string;
  endpoints: NetworkEndpoint[];
  /** It is paused, and its processes are frozen. */
  frozen?: boolean;
  /** How it ended, if the guest could not report it because its VM was killed. */
  killed?: { at: string; exitCode: number; oomKilled?: boolean };
  /** It never began: how the start failed, if the guest did not report it. */
  notStarted?: { exitCode: number; error: ErrorRecord | null };
  /** The run before this one. */
  last?: { startedAt: string; finishedAt: string; exitCode: number; oomKilled: boolean; error: ErrorRecord | null };
}

/** Parses a record; null for a VM that has never run, and for anything that is not a record. */
export function parseRunRecord(text: string | undefined): RunRecord | null {
  if (text === undefined || text === '') return null;
  try {
    const record = JSON.parse(text) as RunRecord | null;
    if (typeof record?.startedAt !== 'string' || Number.isNaN(Date.parse(record.startedAt))) return null;
    if (!Array.isArray(record.endpoints)) return null;
    return { ...record, endpoints: record.endpoints.map(wholeEndpoint) };
  } catch {
    return null;
  }
}

/** The record of a run that is about to begin. */
export function newRecord(startedAt: Date, endpoints: NetworkEndpoint[], rest: Resting): RunRecord {
  return recordOf({ startedAt, endpoints, last: rest.kind === 'exited' ? rest.run : null });
}

/** The record of a container's run as it is now; null if it does not run. */
export function currentRecord({ life }: ContainerFacts): RunRecord | null {
  if (!hasRun(life)) return null;
  const { pause } = life.run;
  return {
    ...recordOf(life.run),
    ...(pause.kind === 'frozen' || (pause.kind === 'paused' && pause.frozen) ? { frozen: true } : {}),
  };
}

/** The record of a run whose end the guest did not report. */
export function killedRecord({ startedAt, end, endpoints = [] }: PastRun): RunRecord {
  const { finishedAt, exitCode, oomKilled } = end;
  return {
    startedAt: startedAt.toISOString(),
    endpoints,
    killed: { at: finishedAt.toISOString(), exitCode, ...(oomKilled ? { oomKilled } : {}) },
  };
}

/** The record of a start that failed without the guest reporting it. */
export function failedRecord(rest: Resting, now: Date): RunRecord {
  const { exitCode, error } = rest.kind === 'exited' ? rest.run.end : (rest.failure ?? { exitCode: 0, error: null });
  return {
    ...newRecord(now, rest.kind === 'exited' ? (rest.run.endpoints ?? []) : [], rest),
    notStarted: { exitCode, error },
  };
}

function recordOf(run: { startedAt: Date; endpoints: NetworkEndpoint[]; last: PastRun | null }): RunRecord {
  const { startedAt, endpoints, last } = run;
  if (last === null) return { startedAt: startedAt.toISOString(), endpoints };
  const { finishedAt, ...end } = last.end;
  return {
    startedAt: startedAt.toISOString(),
    endpoints,
    last: { startedAt: last.startedAt.toISOString(), finishedAt: finishedAt.toISOString(), ...end },
  };
}

/** Why a start failed, as recorded. What cannot be parsed is shown as it is. */
function keptError(kept: unknown): ErrorRecord | null {
  if (kept === null || kept === undefined || kept === '') return null;
  const { kind, message } = kept as Partial<ErrorRecord>;
  if (typeof kind === 'string' && typeof message === 'string') return kept as ErrorRecord;
  return { kind: 'internal', message: typeof kept === 'string' ? kept : JSON.stringify(kept) };
}

/** The container as it was before its current run. */
function before({ last }: RunRecord): Resting {
  if (last === undefined) return { kind: 'created', failure: null };
  const { startedAt, finishedAt, exitCode, oomKilled, error } = last;
  const end = { exitCode, oomKilled, error: keptError(error), finishedAt: new Date(finishedAt) };
  return { kind: 'exited', run: { startedAt: new Date(startedAt), end }, keep: false };
}

/** A container when it is discovered. @param on whether its machine is on; its run is then examined by {@link foundRun} */
export function foundRest(record: RunRecord | null, status: RunStatus, on: boolean): Resting {
  if (record === null) return { kind: 'created', failure: null };
  const { notStarted } = record;
  if (notStarted !== undefined) {
    const rest = before(record);
    const error = keptError(notStarted.error);
    // The end of the previous run already includes the failure.
    if (rest.kind === 'exited' || error === null) return rest;
    return { kind: 'created', failure: { exitCode: notStarted.exitCode, error } };
  }
  if (on && record.killed === undefined) return before(record);
  const startedAt = new Date(record.startedAt);
  const killed = record.killed ?? { at: record.startedAt, exitCode: KILLED };
  const end = outcome(status, { ...killed, at: new Date(killed.at) });
  const { endpoints } = record;
  const had = endpoints.length > 0 ? { endpoints } : {};
  if (on || status.kind !== 'failed') return { kind: 'exited', run: { startedAt, end, ...had }, keep: false };
  const rest = before(record);
  const { exitCode, error } = end;
  if (rest.kind === 'created') return { kind: 'created', failure: error === null ? null : { exitCode, error } };
  return { ...rest, run: { ...rest.run, end: { ...rest.run.end, exitCode, error, oomKilled: false } } };
}

/**
 * The run of a machine that is found on. Its record may describe an earlier run, if an administrator has powered it on since.
 * @returns the run, and whether the record describes it
 */
export function foundRun(
  { life }: ContainerFacts,
  found: { record: RunRecord | null; status: RunStatus; suspended: boolean },
  now: Date,
): { run: FoundRun; recorded: boolean } {
  const { record, status, suspended } = found;
  const rest = restOf(life);
  const began = status.kind === 'started' ? status.at : null;
  const pid = status.kind === 'started' ? status.pid : 0;
  const past = rest.kind === 'exited' ? rest.run : null;
  const isOver =
    record === null ||
    record.killed !== undefined ||
    record.notStarted !== undefined ||
    past?.startedAt.toISOString() === record.startedAt ||
    (began !== null && began.getTime() - Date.parse(record.startedAt) > LONGEST_START_MS);
  if (record === null || isOver) {
    const endpoints = record?.endpoints ?? [];
    return {
      run: { startedAt: began ?? now, pid, endpoints, last: past, frozen: false, suspended },
      recorded: false,
    };
  }
  const { startedAt, endpoints, frozen = false } = record;
  return {
    run: { startedAt: new Date(startedAt), pid, endpoints, last: past, frozen, suspended },
    recorded: true,
  };
}
