/** A machine's life cycle as a table, and properties that hold for any sequence of events. No VM, no clock. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ContainerEvent,
  type ContainerFacts,
  type ContainerLife,
  hasRun,
  isStarting,
  untouched,
} from '../../../port-layer/exec/container-life.js';
import { nextContainer } from '../../../port-layer/exec/container-next.js';
import {
  lookAfterMs,
  type MachineEffect,
  type MachineEvent,
  type MachineLife,
  nextMachine,
  type SeenPower,
} from '../../../port-layer/exec/machine-life.js';
import { foundRun } from '../../../port-layer/exec/run-record.js';

const RUN = '2026-11-21T06:00:00.123Z';
const began = new Date(RUN);
const record = (startedAt: string): SeenPower['record'] => ({ startedAt, endpoints: [] });
const power = (change: Partial<SeenPower>): SeenPower => ({
  on: true,
  suspended: false,
  question: null,
  record: record(RUN),
  status: { kind: 'none' },
  ...change,
});
const ON = power({});
const OFF = power({ on: false });
const OLD = power({ record: record('2026-11-20T00:00:00.000Z') });
const question = { id: '1', reason: 'no space left on device', goOn: '0' };

const off: MachineLife = { kind: 'off' };
const unexpected: MachineLife = { kind: 'unexpected' };
const powering: MachineLife = { kind: 'powering', run: RUN, sure: 'no', expects: null };
const on: MachineLife = { kind: 'on', stand: { kind: 'goes' }, expects: null };
const gone: MachineLife = { kind: 'gone' };
const seen = (what: SeenPower, trusted = false): MachineEvent => ({ type: 'seen', power: what, trusted });
const looked = (what: SeenPower): MachineEvent => ({ type: 'looked', power: what });
const named = (effects: MachineEffect[]): string => effects.map((effect) => effect.do).join(' ');

describe('the table', () => {
  it.each<[string, MachineLife, MachineEvent, MachineLife, string]>([
    ['it is found by an endpoint that starts', off, seen(ON, true), on, 'found'],
    ['it is seen on though nobody here asked for it: old news, or an administrator', off, seen(ON), unexpected, ''],
    ['a look says that it was an administrator', unexpected, looked(ON), on, 'found'],
    ['a look says that it was old news', unexpected, looked(OFF), off, ''],
    ['it is seen off before it was looked at', unexpected, seen(OFF), off, ''],
    ['it is started', off, { type: 'powerOn', run: RUN }, powering, ''],
    ['the start is given up before it is powered on', powering, { type: 'notPoweredOn' }, off, ''],
    ['the news of this run', powering, seen(ON), on, ''],
    ['the news of the run before say nothing of this one', powering, seen(OLD), powering, ''],
    ['nor do those from before it was on', powering, seen(OFF), powering, ''],
    ['its task is done', powering, { type: 'poweredOn' }, { ...powering, sure: 'task' }, ''],
    ['its process was heard of', powering, { type: 'heard' }, { ...powering, sure: 'heard' }, ''],
    ['it was on for less than we could see', { ...powering, sure: 'heard' }, looked(OFF), off, 'off'],
    ['it is on, and will be seen on', { ...powering, sure: 'task' }, looked(ON), { ...powering, sure: 'task' }, ''],
    ['a look from before it was on', powering, looked(OFF), powering, ''],
    ['it goes off', on, seen(OFF), off, 'off'],
    ['its process has ended', on, { type: 'expect', what: 'guest' }, { ...on, expects: 'guest' }, ''],
    ['it is off, and nobody was told', { ...on, expects: 'guest' }, looked(OFF), off, 'off'],
    ['its guest takes its time', { ...on, expects: 'guest' }, looked(ON), { ...on, expects: 'guest' }, ''],
    ['its channel is silent', on, { type: 'expect', what: 'silent' }, { ...on, expects: 'silent' }, ''],
    ['it was only its channel', { ...on, expects: 'silent' }, looked(ON), on, ''],
    [
      'it is asked to go off',
      { ...on, expects: 'guest' },
      { type: 'expect', what: 'asked' },
      { ...on, expects: 'asked' },
      '',
    ],
    [
      'what is expected is not forgotten',
      { ...on, expects: 'asked' },
      { type: 'expect', what: 'silent' },
      { ...on, expects: 'asked' },
      '',
    ],
    ['it is suspended', on, seen(power({ suspended: true })), { ...on, stand: { kind: 'suspended' } }, 'still'],
    ['it asks something', on, seen(power({ question })), { ...on, stand: { kind: 'asks', question } }, 'still'],
    ['it is let go', { ...on, stand: { kind: 'suspended' } }, { type: 'stands', suspended: false }, on, 'still'],
    ['it is told again', on, seen(ON), on, ''],
    ['it is expected to go off though it is off', off, { type: 'expect', what: 'asked' }, off, ''],
    ['it leaves the inventory', on, { type: 'gone' }, gone, 'gone'],
    ['nothing follows', gone, seen(ON), gone, ''],
  ])('%s', (_, life, event, then, effects) => {
    const step = nextMachine(life, event);
    expect(step.life).toEqual(then);
    expect(named(step.effects)).toBe(effects);
  });

  it('does not change without news: a guest that talks all the time does not put off a check', () => {
    const ending: MachineLife = { ...on, expects: 'guest' };
    for (const event of [seen(ON), looked(ON), { type: 'expect', what: 'guest' } as const])
      expect(nextMachine(ending, event).life).toBe(ending);
    expect(nextMachine(off, seen(OFF)).life).toBe(off);
  });

  it('says when to check', () => {
    expect(
      [off, on, gone, powering, unexpected, { ...on, expects: 'guest' as const }].map((life) => lookAfterMs(life)),
    ).toEqual([null, null, null, null, 0, 10_000]);
  });
});

/**
 * A machine with its container, a host that really has it on or off, and an inventory that reports late and leaves
 * out changes that were undone meanwhile. The truth and what is known are kept apart.
 */
class World {
  machine: MachineLife = off;
  container: ContainerFacts = untouched({ kind: 'created', failure: null });
  private truth = power({ on: false, record: null });
  private news: SeenPower[] = [];
  private runs = 0;
  /** Whether it has been off since its last start. */
  private wentOff = true;

  private tellMachine(event: MachineEvent): void {
    const { life, effects } = nextMachine(this.machine, event);
    this.machine = life;
    for (const effect of effects) {
      if (effect.do === 'found') {
        // Old news never makes a run be adopted.
        expect(this.truth.on).toBe(true);
        const at = new Date(this.runs++);
        const found = foundRun(this.container, { ...(event as { power: SeenPower }).power, suspended: false }, at);
        this.tell({ type: 'found', run: found.run });
      } else if (effect.do === 'off') {
        // Old news never ends a run.
        expect(this.wentOff).toBe(true);
        this.tell({ type: 'off', status: effect.status, at: began });
      } else if (effect.do === 'still') this.tell({ type: 'still', yes: effect.yes, question: '' });
      else this.tell({ type: 'gone', at: began });
    }
  }

  tell(event: ContainerEvent): void {
    const { facts, effects } = nextContainer(this.container, event);
    this.container = facts;
    for (const effect of effects) if (effect.do === 'expectOff') this.tellMachine({ type: 'expect', what: 'guest' });
  }

  private change(truth: Partial<SeenPower>): void {
    this.truth = { ...this.truth, ...truth };
    this.wentOff ||= !this.truth.on;
    this.news.push(this.truth);
  }

  readonly acts: Record<string, (choice: number) => void> = {
    start: () => {
      this.tell({ type: 'start' });
      if (this.container.life.kind !== 'preparing') return;
      const startedAt = new Date(began.getTime() + ++this.runs);
      this.tell({ type: 'power', startedAt, endpoints: [] });
      this.tellMachine({ type: 'powerOn', run: startedAt.toISOString() });
      this.change({ record: record(startedAt.toISOString()) });
      if (this.truth.on) {
        this.tell({ type: 'abort', reason: new Error('it is on'), exitCode: 128 });
        return;
      }
      this.wentOff = false;
      this.change({ on: true, status: { kind: 'none' } });
      this.tellMachine({ type: 'poweredOn' });
    },
    /** The guest reports its start on the channel. */
    started: () => {
      if (!this.truth.on) return;
      this.change({ status: { kind: 'started', at: began, pid: 1 } });
      this.tellMachine({ type: 'heard' });
      this.tell({ type: 'started', pid: 1 });
    },
    ended: () => this.tell({ type: 'ended', exit: { exitCode: 0, oomKilled: false, at: began } }),
    failed: () => {
      if (this.truth.on) this.tell({ type: 'failed', reason: new Error('no'), exitCode: 127 });
    },
    /** Powered off by its guest, an administrator or a fault; its channel ends with it, unless nobody was connected. */
    powerOff: (choice) => {
      if (!this.truth.on) return;
      if (choice % 2 === 0) this.change({ on: false });
      else this.change({ on: false, status: { kind: 'exited', code: 0, oomKilled: false, at: began } });
      this.tellMachine({ type: 'expect', what: 'silent' });
    },
    adminPowersOn: () => {
      if (!this.truth.on) this.change({ on: true, status: { kind: 'none' } });
    },
    /** The inventory reports the current state or an earlier one, and skips what is in between. */
    inventoryTells: (choice) => {
      const [told] = this.news.splice(0, 1 + (choice % 3)).slice(-1);
      if (told !== undefined) this.tellMachine({ type: 'seen', power: told, trusted: false });
    },
    look: () => this.look(),
    abort: () => this.tell({ type: 'abort', reason: new Error('no'), exitCode: 128 }),
    stop: () => this.tell({ type: 'stop', keep: false }),
    mark: (choice) => this.tell({ type: 'mark', yes: choice % 2 === 0 }),
    pause: (choice) => this.tellMachine({ type: 'stands', suspended: choice % 2 === 0 }),
  };

  look(): void {
    if (lookAfterMs(this.machine) !== null) this.tellMachine({ type: 'looked', power: this.truth });
  }

  /** What the starter does after a failed start. */
  private takeDown(): void {
    if (this.container.life.kind !== 'failing') return;
    if (this.truth.on) this.change({ on: false });
    this.tellMachine({ type: 'expect', what: 'asked' });
    this.look();
    this.tell({ type: 'offOrLeft' });
  }

  /** Nothing happens any more: the inventory reports everything, and all pending checks are made. */
  settle(): void {
    this.takeDown();
    for (let round = 0; round < 4; round++) {
      while (this.news.length > 0) this.acts.inventoryTells!(0);
      this.look();
    }
  }

  get isOn(): boolean {
    return this.truth.on;
  }
}

const names = Object.keys(new World().acts);
const acts = fc.array(fc.tuple(fc.constantFrom(...names), fc.nat(5)), { maxLength: 40 });

function play(sequence: [string, number][]): World {
  const world = new World();
  for (const [name, choice] of sequence) {
    world.acts[name]!(choice);
    possible(world);
  }
  return world;
}

/** Invariants. */
function possible({ container, machine }: World): void {
  const { life }: { life: ContainerLife } = container;
  // A running container's machine is on, or will be checked.
  if (hasRun(life)) expect(['on', 'powering']).toContain(machine.kind);
  if (hasRun(life) && machine.kind === 'powering') expect(lookAfterMs(machine)).not.toBeNull();
  // A container that has ended is checked until its machine is off.
  if (life.kind === 'ending') expect(lookAfterMs(machine)).not.toBeNull();
  if (life.kind === 'powering') expect(['on', 'powering']).toContain(machine.kind);
}

describe('whatever happens, in whatever order', () => {
  it('a container does not run forever with its machine off, and is known to run with its machine on', () => {
    fc.assert(
      fc.property(acts, (sequence) => {
        const world = play(sequence);
        world.settle();
        const { life } = world.container;
        if (!world.isOn) expect(hasRun(life) || isStarting(life)).toBe(false);
        else expect(hasRun(life) || life.kind === 'powering').toBe(true);
        expect(world.machine.kind).toBe(world.isOn ? 'on' : 'off');
      }),
      { numRuns: 3000 },
    );
  });

  it('a run keeps its start time', () => {
    fc.assert(
      fc.property(acts, acts, (before, after) => {
        const world = play([['start', 0], ['started', 0], ...before]);
        const { life } = world.container;
        if (!hasRun(life)) return;
        const { ends } = world.container;
        for (const [name, choice] of after) world.acts[name]!(choice);
        const now = world.container.life;
        if (world.container.ends === ends && hasRun(now)) expect(now.run.startedAt).toEqual(life.run.startedAt);
      }),
      { numRuns: 1000 },
    );
  });
});
