/**
 * A machine's life as data, and what follows what: one pure function.
 *
 * Two sources tell of its power. The inventory's news come in order, but late, and tell states rather than changes: a machine that
 * was on for an instant may never be seen on. A look ({@link MachineEvent} `looked`) is asked for, so it is newer than whatever made
 * us ask, but not in order with the news. Hence: only news make a machine `on`; a look may tell that it is off. While something is
 * expected of a machine, it is looked at again and again ({@link lookAfterMs}), so that nothing waits for news that never come.
 */
import type { RunRecord } from './run-record.js';
import type { RunStatus } from './run-status.js';
import type { VmQuestion } from './vm-question.js';

/** Whether a machine that is on goes on, as the inventory said last. */
export type Stand = { kind: 'goes' } | { kind: 'suspended' } | { kind: 'asks'; question: VmQuestion };

/**
 * Why a machine that is on may be off soon.
 * - `guest`: its process has ended, and the guest powers it off.
 * - `asked`: it was asked to power off.
 * - `silent`: its channel's connection has ended.
 */
export type Expectation = 'guest' | 'asked' | 'silent';

/** One machine's state. */
export type MachineLife =
  | { kind: 'off' }
  /** It was seen on, and this endpoint did not power it on: an administrator did, or the news are old. */
  | { kind: 'unexpected' }
  /**
   * It is to be powered on for a run, and was not seen on yet. `sure`: that it was on is certain: the task has ended, or its process was
   * heard of. `expects`: as in `on`.
   */
  | { kind: 'powering'; run: string; sure: 'no' | 'task' | 'heard'; expects: Expectation | null }
  | { kind: 'on'; stand: Stand; expects: Expectation | null }
  | { kind: 'gone' };

/** What the inventory says of a machine's power. */
export interface SeenPower {
  on: boolean;
  suspended: boolean;
  question: VmQuestion | null;
  /** Of the run that it was powered on for last. */
  record: RunRecord | null;
  status: RunStatus;
}

/** What can happen to a machine. */
export type MachineEvent =
  /** News of the inventory. `trusted`: the first picture, which is no older than this endpoint. */
  | { type: 'seen'; power: SeenPower; trusted: boolean }
  /** The answer to a question that was asked in the state that it still has. */
  | { type: 'looked'; power: SeenPower }
  /** It is about to be powered on. */
  | { type: 'powerOn'; run: string }
  /** The task that powers it on has ended well. */
  | { type: 'poweredOn' }
  /** Its process was heard of. */
  | { type: 'heard' }
  /** It was not powered on after all. */
  | { type: 'notPoweredOn' }
  | { type: 'expect'; what: Expectation }
  /** It was suspended or let go by this endpoint, and the inventory has not said so. */
  | { type: 'stands'; suspended: boolean }
  | { type: 'gone' };

/** What is to be told to the containers in it. */
export type MachineEffect =
  /** It runs though this endpoint did not start it. */
  { do: 'found' } | { do: 'off'; status: RunStatus } | { do: 'still'; yes: boolean; question: string } | { do: 'gone' };

export interface MachineStep {
  life: MachineLife;
  effects: MachineEffect[];
}

/** A VM is off so long after its process has ended. */
const ENDING_MS = 10_000;
/** What the inventory has taken in is told within this. */
const SEEN_MS = 2000;
/** A run may be over before the inventory has told that it began: after this it is looked at. */
const SHORT_RUN_MS = 300;

/** After how long without any change a machine is looked at; null: the inventory's news are waited for. */
export function lookAfterMs(life: MachineLife): number | null {
  switch (life.kind) {
    case 'unexpected':
      return 0;
    case 'powering':
      if (life.expects === 'asked') return SHORT_RUN_MS;
      return { no: null, task: SEEN_MS, heard: SHORT_RUN_MS }[life.sure];
    case 'on':
      return life.expects === null ? null : { guest: ENDING_MS, asked: SEEN_MS, silent: SEEN_MS }[life.expects];
    default:
      return null;
  }
}

/** True while it may be on: its disks are in use. */
export function isOn({ kind }: MachineLife): boolean {
  return kind === 'on' || kind === 'unexpected';
}

/** True while it stands still. */
export function standsStill(life: MachineLife): boolean {
  return life.kind === 'on' && life.stand.kind !== 'goes';
}

/** What becomes of a machine. */
export function nextMachine(life: MachineLife, event: MachineEvent): MachineStep {
  const same: MachineStep = { life, effects: [] };
  if (life.kind === 'gone') return same;
  switch (event.type) {
    case 'seen':
      return seen(life, event.power, event.trusted);
    case 'looked':
      return looked(life, event.power);
    case 'powerOn':
      return life.kind === 'on' || life.kind === 'powering'
        ? same
        : { life: { kind: 'powering', run: event.run, sure: 'no', expects: null }, effects: [] };
    case 'poweredOn':
      return life.kind === 'powering' && life.sure === 'no' ? { life: { ...life, sure: 'task' }, effects: [] } : same;
    case 'notPoweredOn':
      return life.kind === 'powering' && life.sure === 'no' ? { life: { kind: 'off' }, effects: [] } : same;
    case 'heard':
      return life.kind === 'powering' ? { life: { ...life, sure: 'heard' }, effects: [] } : same;
    case 'expect':
      return expecting(life, event.what);
    case 'stands':
      if (life.kind !== 'on' || (life.stand.kind !== 'goes') === event.suspended) return same;
      return stand(life, event.suspended ? { kind: 'suspended' } : { kind: 'goes' });
    case 'gone':
      return { life: { kind: 'gone' }, effects: [{ do: 'gone' }] };
  }
}

function seen(life: MachineLife, power: SeenPower, trusted: boolean): MachineStep {
  const same: MachineStep = { life, effects: [] };
  switch (life.kind) {
    case 'off':
    case 'unexpected':
      if (power.on && trusted) return found(power);
      if (power.on === (life.kind === 'unexpected')) return same;
      return { life: { kind: power.on ? 'unexpected' : 'off' }, effects: [] };
    case 'powering':
      // Until it is seen on, news may be older than the start: of the run before, or of the time between.
      if (!power.on || power.record?.startedAt !== life.run) return same;
      return stand({ kind: 'on', stand: { kind: 'goes' }, expects: life.expects }, standOf(power));
    case 'on':
      return power.on ? stand(life, standOf(power)) : off(power.status);
    default:
      return same;
  }
}

function looked(life: MachineLife, power: SeenPower): MachineStep {
  const same: MachineStep = { life, effects: [] };
  switch (life.kind) {
    case 'unexpected':
      return power.on ? found(power) : { life: { kind: 'off' }, effects: [] };
    case 'powering':
      return power.on || lookAfterMs(life) === null ? same : off(power.status);
    case 'on':
      if (!power.on) return off(power.status);
      // Only its connection had ended: another comes.
      return life.expects === 'silent' ? { life: { ...life, expects: null }, effects: [] } : same;
    default:
      return same;
  }
}

function expecting(life: MachineLife, what: Expectation): MachineStep {
  const same: MachineStep = { life, effects: [] };
  if (life.kind !== 'on' && life.kind !== 'powering') return same;
  // That it was asked to go off is the strongest reason, that its channel is silent the weakest.
  const order: (Expectation | null)[] = [null, 'silent', 'guest', 'asked'];
  return order.indexOf(what) <= order.indexOf(life.expects) ? same : { life: { ...life, expects: what }, effects: [] };
}

function off(status: RunStatus): MachineStep {
  return { life: { kind: 'off' }, effects: [{ do: 'off', status }] };
}

function found(power: SeenPower): MachineStep {
  const now = stand({ kind: 'on', stand: { kind: 'goes' }, expects: null }, standOf(power));
  return { ...now, effects: [{ do: 'found' }, ...now.effects] };
}

function standOf({ suspended, question }: SeenPower): Stand {
  if (question !== null) return { kind: 'asks', question };
  return suspended ? { kind: 'suspended' } : { kind: 'goes' };
}

function stand(life: Extract<MachineLife, { kind: 'on' }>, now: Stand): MachineStep {
  const before = life.stand;
  const question = now.kind === 'asks' ? now.question : null;
  const asked = before.kind === 'asks' ? before.question : null;
  if (before.kind === now.kind && question?.id === asked?.id) return { life, effects: [] };
  const told = question === null ? '' : `${question.reason}: the container stands still`;
  return { life: { ...life, stand: now }, effects: [{ do: 'still', yes: now.kind !== 'goes', question: told }] };
}
