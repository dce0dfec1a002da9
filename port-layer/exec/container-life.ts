/**
 * A container's life as data: one state at a time, and each state has only the fields that mean something in it. What may happen
 * in a state, and what follows, stands in `container-next.ts`.
 */
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
}

/** What was seen in the guest while it could still be asked. */
export interface LastSeen {
  processes: ProcessList;
  usage: ResourceUsage;
}

/**
 * Whether the processes run.
 * - `frozen`: they are frozen in the guest, and the machine is about to be suspended.
 * - `paused`: Docker's paused. `frozen` tells whether they are frozen in the guest too, so that the machine may be woken without
 *   them. `held`: it is woken that way, or about to be: a machine that runs does not mean that the container does.
 */
export type Pause =
  | { kind: 'no' }
  | { kind: 'frozen'; held: boolean }
  | { kind: 'paused'; frozen: boolean; held: boolean; seen: LastSeen | null };

/** A container without a run: it can be started. */
export type Resting =
  /** It never ran. `failure`: of the last attempt to start it. */
  | { kind: 'created'; failure: { exitCode: number; error: string } | null }
  /** `keep`: its last run was ended to start another, so it stays even if it is to be removed when it exits. */
  | { kind: 'exited'; run: PastRun; keep: boolean };

/** What all states of a run know. */
export interface Run {
  startedAt: Date;
  /** Process id in the guest; 0 while unknown. */
  pid: number;
  endpoints: NetworkEndpoint[];
  /** The kernel killed one of its processes for want of memory. */
  oomKilled: boolean;
  /** The run before this one, if there was one. */
  last: PastRun | null;
  pause: Pause;
  /** Docker asked it to stop. `keep`: to start it again. */
  stop: { keep: boolean } | null;
}

/** What the guest said of the end of the process. */
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
  /** The machine is being powered on; the process is not known to run. */
  | { kind: 'powering'; rest: Resting; startedAt: Date; endpoints: NetworkEndpoint[]; oomKilled: boolean }
  /** The start has failed; the machine is on its way down. */
  | { kind: 'failing'; rest: Resting; reason: Error; exitCode: number }
  | { kind: 'running'; run: Run }
  /** The process has ended; the machine is on its way down. */
  | { kind: 'ending'; run: Run; reported: ReportedExit }
  | { kind: 'removing'; rest: Resting }
  /** It could not be removed. */
  | { kind: 'dead'; rest: Resting; error: string }
  /** Its machine is gone, or nobody's any more. Nothing follows. */
  | { kind: 'removed'; rest: Resting };

/** What is known of a container besides its spec. */
export interface ContainerFacts {
  life: ContainerLife;
  /** A removal is under way: it is not started again, and not removed twice. */
  marked: boolean;
  /** Why the last start failed; null: it did not, or is under way. */
  failure: Error | null;
  /** How many runs and starts have come to an end in this endpoint's time: who waits for the next one compares. */
  ends: number;
  /** Why it stands still without anybody having paused it: its machine asks something. */
  standstill: string;
}

/** What the machine's inventory entry says of a run that this endpoint did not start. */
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
  /** The start is given up: by whoever carries it out, or by a removal. */
  | { type: 'abort'; reason: Error; exitCode: number }
  | { type: 'stop'; keep: boolean }
  | { type: 'mark'; yes: boolean }
  | { type: 'remove' }
  | { type: 'removeFailed'; error: string }
  // Messages of the guest
  | { type: 'started'; pid: number }
  | { type: 'failed'; reason: Error; exitCode: number }
  | { type: 'ended'; exit: ReportedExit }
  | { type: 'oom'; news: boolean }
  | { type: 'frozen'; yes: boolean }
  // The machine
  | { type: 'found'; run: FoundRun }
  /** It is off, as the inventory says or as it was asked. `at`: now. */
  | { type: 'off'; status: RunStatus; at: Date }
  /** It was to be powered off after a failed start, and is, or could not be. */
  | { type: 'offOrLeft' }
  /** It stands still, or goes on; `question`: why, if it asks something. */
  | { type: 'still'; yes: boolean; question: string }
  /** It left the inventory, or is left to whoever takes it down. */
  | { type: 'gone'; at: Date }
  // Pausing
  | { type: 'hold'; yes: boolean }
  | { type: 'pause'; yes: boolean }
  | { type: 'seen'; seen: LastSeen | null };

/** What is to be done about it. */
export type ContainerEffect =
  | { do: 'tell'; of: 'started' | 'exited' | 'startFailed' | 'paused' | 'unpaused' | 'oom' | 'removed' }
  /** The channel and the addresses of the run are given back. `now`: without reading what the guest still sends. */
  | { do: 'letGo'; now: boolean }
  /** The run's end, of which the guest can say nothing, is kept with the machine. */
  | { do: 'keepEnd'; run: PastRun }
  /** The process has ended: the machine must go off, or is dropped. */
  | { do: 'expectOff' }
  | { do: 'goOn'; thaw: boolean }
  | { do: 'removeIfWished' };

/** True from the moment the process runs until its machine is off. */
export function hasRun(life: ContainerLife): life is Extract<ContainerLife, { run: Run }> {
  return life.kind === 'running' || life.kind === 'ending';
}

/** True while somebody is starting it. */
export function isStarting({ kind }: ContainerLife): boolean {
  return kind === 'preparing' || kind === 'powering' || kind === 'failing';
}

/** The state's name for the personality. */
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

/** What a container falls back to when what it is doing comes to nothing. */
export function restOf(life: ContainerLife): Resting {
  if (life.kind === 'created' || life.kind === 'exited') return life;
  if (!hasRun(life)) return life.rest;
  return life.run.last === null
    ? { kind: 'created', failure: null }
    : { kind: 'exited', run: life.run.last, keep: false };
}

/** A container that nothing has happened to. */
export function untouched(rest: Resting): ContainerFacts {
  return { life: rest, marked: false, failure: null, ends: 0, standstill: '' };
}
