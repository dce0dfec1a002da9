/**
 * A machine's life as data, and what follows each event, as one pure function.
 *
 * Two sources report its power. The inventory's news arrives in order, but late, and it reports states rather than changes: a machine that
 * was on for an instant may never be seen on. A look (event `looked`) is a question of ours, so its answer is newer than whatever made us
 * ask, but it is not ordered with the news. Hence only news can make a machine `on`, while a look can find it off. As long as we expect
 * something of a machine we keep looking at it ({@link lookAfterMs}), so nobody waits for news that never comes.
 */
import type { RunRecord } from './run-record.js';
import type { RunStatus } from './run-status.js';
import type { VmQuestion } from './vm-question.js';

/** Whether a machine that is on makes progress, according to the latest news. */
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
  /** It was seen on, although this endpoint did not power it on: an administrator did, or the news is old. */
  | { kind: 'unexpected' }
  /**
   * It is being powered on for a run and has not been seen on yet. `sure`: how we know that it has been on: its power-on task has
   * ended, or we have heard of its process. `expects`: as in `on`.
   */
  | { kind: 'powering'; run: string; sure: 'no' | 'task' | 'heard'; expects: Expectation | null }
  | { kind: 'on'; stand: Stand; expects: Expectation | null }
  | { kind: 'gone' };

/** What the inventory says of a machine's power. */
export interface SeenPower {
  on: boolean;
  suspended: boolean;
  question: VmQuestion | null;
  /** The record of the run that it was last powered on for. */
  record: RunRecord | null;
  status: RunStatus;
  /** MAC addresses of the cards that the guest says it has set up; undefined: it has said nothing. */
  cards?: ReadonlySet<string>;
}

/** What can happen to a machine. */
export type MachineEvent =
  /** News from the inventory. `trusted`: part of the first picture, which is no older than this endpoint. */
  | { type: 'seen'; power: SeenPower; trusted: boolean }
  /** The answer to a look; its state has not changed since we asked. */
  | { type: 'looked'; power: SeenPower }
  /** It is about to be powered on. */
  | { type: 'powerOn'; run: string }
  /** Its power-on task has succeeded. */
  | { type: 'poweredOn' }
  /** Its guest has told us about its process. */
  | { type: 'heard' }
  /** It was not powered on after all. */
  | { type: 'notPoweredOn' }
  | { type: 'expect'; what: Expectation }
  /** This endpoint has suspended or resumed it, and the inventory has not said so yet. */
  | { type: 'stands'; suspended: boolean }
  | { type: 'gone' };

/** What its containers must hear. */
export type MachineEffect =
  /** It runs though this endpoint did not start it. */
  { do: 'found' } | { do: 'off'; status: RunStatus } | { do: 'still'; yes: boolean; question: string } | { do: 'gone' };

export interface MachineStep {
  life: MachineLife;
  effects: MachineEffect[];
}

/** After its process has ended, a VM takes up to this long to power off. */
const ENDING_MS = 10_000;
/** The inventory reports a change within this time. */
const SEEN_MS = 2000;
/** A run may be over before the inventory has reported its beginning, so we look after this time. */
const SHORT_RUN_MS = 300;

/** How long a machine may stay in this state before we look at it; null: the inventory's news is enough. */
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

/** True while it may be on, and so uses its disks. */
export function isOn({ kind }: MachineLife): boolean {
  return kind === 'on' || kind === 'unexpected';
}

/** True while it stands still. */
export function standsStill(life: MachineLife): boolean {
  return life.kind === 'on' && life.stand.kind !== 'goes';
}

/** What follows an event. */
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
      // Until we have seen it on, news may be older than this start: about the run before, or the time in between.
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
      // Only the connection has ended; the guest will make another one.
      return life.expects === 'silent' ? { life: { ...life, expects: null }, effects: [] } : same;
    default:
      return same;
  }
}

function expecting(life: MachineLife, what: Expectation): MachineStep {
  const same: MachineStep = { life, effects: [] };
  if (life.kind !== 'on' && life.kind !== 'powering') return same;
  // A power-off we asked for is the strongest reason, a silent channel the weakest.
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
  const told = question === null ? '' : question.reason;
  return { life: { ...life, stand: now }, effects: [{ do: 'still', yes: now.kind !== 'goes', question: told }] };
}
