/**
 * A container's life as data: one state at a time, each with only the fields that mean something in it. `container-next.ts` has what can
 * happen in each state, and what follows.
 */

import type { ErrorRecord } from '../errors.js';
import type { NetworkEndpoint } from '../network/types.js';
import type { ProcessList, ResourceUsage } from '../observe/types.js';
import type { RunStatus } from './run-status.js';
import type { ContainerState, ExitStatus } from './types.js';

/** How a run ended. */
export interface RunEnd extends ExitStatus {
  finishedAt: Date;
}

/** When the run began and how it ended. */
export interface PastRun {
  startedAt: Date;
  end: RunEnd;
  /** What it had on its networks; its addresses are kept for the next run. */
  endpoints?: NetworkEndpoint[];
}

/** What the guest showed while it could still be asked. */
export interface LastSeen {
  processes: ProcessList;
  usage: ResourceUsage;
}

/**
 * Whether the processes run.
 * - `frozen`: they are frozen in the guest, and the machine is about to be suspended.
 * - `paused`: as Docker shows it. With `frozen`, the guest has also frozen them, so the machine can be woken without them. With `held`, it
 * has been woken in that way, or is about to be: then a running machine does not mean a running container.
 */
export type Pause =
  | { kind: 'no' }
  | { kind: 'frozen'; held: boolean }
  | { kind: 'paused'; frozen: boolean; held: boolean; seen: LastSeen | null };

/** A container that is not running: it can be started. */
export type Resting =
  /** It has never run. `failure`: how the last attempt to start it ended. */
  | { kind: 'created'; failure: { exitCode: number; error: ErrorRecord } | null }
  /** `keep`: its last run was ended only to start another, so it stays even if it has --rm. */
  | { kind: 'exited'; run: PastRun; keep: boolean };

/** A run that has not ended. */
export interface Run {
  startedAt: Date;
  /** Process id in the guest; 0 while unknown. */
  pid: number;
  endpoints: NetworkEndpoint[];
  /** The kernel killed one of its processes for lack of memory. */
  oomKilled: boolean;
  /** The run before this one, if there was one. */
  last: PastRun | null;
  pause: Pause;
  /** Somebody asked it to stop. `keep`: only to start it again. */
  stop: { keep: boolean } | null;
}

/** What the guest said about the end of the process. */
export interface ReportedExit {
  exitCode: number;
  oomKilled: boolean;
  at: Date;
}

/** One container's state. */
export type ContainerLife =
  | Resting
  /** A start was asked for; the machine has not been touched. `aborted`: why it will not be. */
  | { kind: 'preparing'; rest: Resting; aborted: Error | null }
  /** The machine is being powered on; we do not know yet that the process runs. */
  | { kind: 'powering'; rest: Resting; startedAt: Date; endpoints: NetworkEndpoint[]; oomKilled: boolean }
  /** The start has failed; the machine is on its way down. `told`: the guest reported it, and so recorded the reason with its machine. */
  | { kind: 'failing'; rest: Resting; reason: Error; exitCode: number; told: boolean }
  | { kind: 'running'; run: Run }
  /** The process has ended; the machine is on its way down. */
  | { kind: 'ending'; run: Run; reported: ReportedExit }
  | { kind: 'removing'; rest: Resting }
  /** It could not be removed. */
  | { kind: 'dead'; rest: Resting; error: ErrorRecord }
  /** Its machine is gone or no longer ours. Nothing follows. */
  | { kind: 'removed'; rest: Resting };

/** All we know about a container besides its spec. */
export interface ContainerFacts {
  life: ContainerLife;
  /** It is being removed, so nobody may start it or remove it a second time. */
  marked: boolean;
  /** Why the last start failed; null if it succeeded or is still in progress. */
  failure: Error | null;
  /** How many runs have ended and starts have failed since this endpoint began. Waiters compare it to notice the next end. */
  ends: number;
  /** Why it stands still although nobody paused it: its machine's host asks a question. '' if it does not. */
  standstill: string;
}

/** A run that this endpoint did not start, as its machine's record and status describe it. */
export interface FoundRun {
  startedAt: Date;
  pid: number;
  endpoints: NetworkEndpoint[];
  last: PastRun | null;
  frozen: boolean;
  suspended: boolean;
}

/** What can happen to a container. */
export type ContainerEvent =
  // Commands
  | { type: 'start' }
  | { type: 'power'; startedAt: Date; endpoints: NetworkEndpoint[] }
  /** It was given a place on a network while it runs, or lost one; or an address by DHCP, which may be before. */
  | { type: 'networks'; endpoints: NetworkEndpoint[] }
  /** The start is given up, by the code that carries it out or by a removal. */
  | { type: 'abort'; reason: Error; exitCode: number }
  | { type: 'stop'; keep: boolean }
  | { type: 'mark'; yes: boolean }
  | { type: 'remove' }
  | { type: 'removeFailed'; error: ErrorRecord }
  // Messages from the guest
  | { type: 'started'; pid: number }
  | { type: 'failed'; reason: Error; exitCode: number }
  | { type: 'ended'; exit: ReportedExit }
  | { type: 'oom'; news: boolean }
  | { type: 'frozen'; yes: boolean }
  // The machine
  | { type: 'found'; run: FoundRun }
  /** It is off. `at`: now. */
  | { type: 'off'; status: RunStatus; at: Date }
  /** After a failed start: it is off, or could not be powered off. */
  | { type: 'offOrLeft' }
  /** It stands still, or goes on again. `question`: what its host asks, if that is the reason. */
  | { type: 'still'; yes: boolean; question: string }
  /** It has left the inventory, or somebody else is taking it down. */
  | { type: 'gone'; at: Date }
  // Pausing
  | { type: 'hold'; yes: boolean }
  | { type: 'pause'; yes: boolean }
  | { type: 'seen'; seen: LastSeen | null };

/** What has to be done. */
export type ContainerEffect =
  | { do: 'tell'; of: 'starting' | 'started' | 'exited' | 'startFailed' | 'paused' | 'unpaused' | 'oom' | 'removed' }
  /** Close the run's channel and release its addresses. `now`: without reading what the guest has still sent. */
  | { do: 'letGo'; now: boolean }
  /** Record the run's end with the machine, since the guest could not. */
  | { do: 'keepEnd'; run: PastRun }
  /** Record with the machine how a start failed, since the guest did not. */
  | { do: 'keepFailure'; rest: Resting }
  /** The process has ended: the machine must power off, or is dropped. */
  | { do: 'expectOff' }
  | { do: 'goOn'; thaw: boolean }
  | { do: 'removeIfWished' };

/** True from the moment the process runs until its machine is off. */
export function hasRun(life: ContainerLife): life is Extract<ContainerLife, { run: Run }> {
  return life.kind === 'running' || life.kind === 'ending';
}

/** True while a start is in progress. */
export function isStarting({ kind }: ContainerLife): boolean {
  return kind === 'preparing' || kind === 'powering' || kind === 'failing';
}

/** The state's name outside the port layer. */
export function shownState(life: ContainerLife): ContainerState {
  switch (life.kind) {
    case 'preparing':
    case 'powering':
    case 'failing':
      return 'starting';
    case 'running':
    case 'ending':
      return life.run.stop === null ? 'running' : 'stopping';
    case 'removed':
      return 'removing';
    default:
      return life.kind;
  }
}

/** The state it falls back to when a start or a removal fails. */
export function restOf(life: ContainerLife): Resting {
  if (life.kind === 'created' || life.kind === 'exited') return life;
  if (!hasRun(life)) return life.rest;
  return life.run.last === null
    ? { kind: 'created', failure: null }
    : { kind: 'exited', run: life.run.last, keep: false };
}

/** A container to which nothing has happened yet. */
export function untouched(rest: Resting): ContainerFacts {
  return { life: rest, marked: false, failure: null, ends: 0, standstill: '' };
}
