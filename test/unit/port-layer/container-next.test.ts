/** A container's life cycle as a table: which state follows which. No VM, no clock. */
import { describe, expect, it } from 'vitest';
import {
  type ContainerEffect,
  type ContainerEvent,
  type ContainerFacts,
  type ContainerLife,
  type PastRun,
  type Pause,
  type Resting,
  type Run,
  shownState,
  untouched,
} from '../../../port-layer/exec/container-life.js';
import { nextContainer } from '../../../port-layer/exec/container-next.js';
import { notStarted } from '../../../port-layer/exec/run-status.js';

const STUCK = { kind: 'internal', message: 'stuck' } as const;

const began = new Date('2026-11-21T06:00:00.123Z');
const now = new Date('2026-11-21T06:00:09.000Z');
const finished = new Date('2026-11-21T06:00:05.500Z');
const reason = new Error('no');
const past: PastRun = {
  startedAt: new Date('2026-11-20T00:00:00Z'),
  end: { exitCode: 3, oomKilled: true, error: null, finishedAt: new Date('2026-11-20T00:01:00Z') },
};
const created: Resting = { kind: 'created', failure: null };
const exited: Resting = { kind: 'exited', run: past, keep: false };
const run = (change: Partial<Run> = {}): Run => ({
  startedAt: began,
  pid: 7,
  endpoints: [],
  oomKilled: false,
  last: null,
  pause: { kind: 'no' },
  stop: null,
  ...change,
});
const reported = { exitCode: 4, oomKilled: false, at: now };

/** A container in each state. */
const LIVES = {
  created,
  exited,
  preparing: { kind: 'preparing', rest: created, aborted: null },
  powering: { kind: 'powering', rest: created, startedAt: began, endpoints: [], oomKilled: false },
  failing: { kind: 'failing', rest: created, reason, exitCode: 127, told: true },
  running: { kind: 'running', run: run() },
  ending: { kind: 'ending', run: run(), reported },
  removing: { kind: 'removing', rest: created },
  dead: { kind: 'dead', rest: created, error: STUCK },
  removed: { kind: 'removed', rest: created },
} satisfies Record<ContainerLife['kind'], ContainerLife>;
type Kind = ContainerLife['kind'];

/** An event of each kind. */
const EVENTS: ContainerEvent[] = [
  { type: 'start' },
  { type: 'power', startedAt: began, endpoints: [] },
  { type: 'abort', reason, exitCode: 128 },
  { type: 'stop', keep: true },
  { type: 'remove' },
  { type: 'removeFailed', error: STUCK },
  { type: 'started', pid: 9 },
  { type: 'failed', reason, exitCode: 126 },
  { type: 'ended', exit: reported },
  { type: 'oom', news: true },
  { type: 'frozen', yes: true },
  { type: 'found', run: { ...run(), frozen: false, suspended: false } },
  { type: 'off', status: { kind: 'exited', code: 5, oomKilled: false, at: finished }, at: now },
  { type: 'offOrLeft' },
  { type: 'still', yes: true, question: '' },
  { type: 'gone', at: now },
  { type: 'hold', yes: true },
  { type: 'pause', yes: true },
  { type: 'seen', seen: null },
];

/** The next state; commands that are not listed leave it unchanged. */
const TABLE: Record<Kind, Partial<Record<ContainerEvent['type'], Kind>>> = {
  created: { start: 'preparing', found: 'running', remove: 'removing', gone: 'removed' },
  exited: { start: 'preparing', found: 'running', remove: 'removing', gone: 'removed' },
  preparing: { power: 'powering', offOrLeft: 'created', gone: 'removed' },
  powering: { started: 'running', abort: 'failing', failed: 'failing', off: 'exited', gone: 'removed' },
  failing: { off: 'created', offOrLeft: 'created', gone: 'removed' },
  running: { ended: 'ending', off: 'exited', gone: 'removed' },
  ending: { off: 'exited', gone: 'removed' },
  removing: { removeFailed: 'dead', gone: 'removed' },
  dead: { remove: 'removing', gone: 'removed' },
  removed: {},
};

const facts = (life: ContainerLife, change: Partial<ContainerFacts> = {}): ContainerFacts => ({
  ...untouched(created),
  life,
  ...change,
});
const step = (life: ContainerLife, ...events: ContainerEvent[]): { facts: ContainerFacts; effects: string[] } => {
  let at = facts(life);
  const effects: string[] = [];
  for (const event of events) {
    const next = nextContainer(at, event);
    at = next.facts;
    effects.push(...next.effects.map(named));
  }
  return { facts: at, effects };
};
const named = (effect: ContainerEffect): string => (effect.do === 'tell' ? `tell ${effect.of}` : effect.do);

describe('the table', () => {
  for (const from of Object.keys(LIVES) as Kind[])
    it(`of a container that is ${from}`, () => {
      for (const event of EVENTS)
        expect(`${event.type}: ${step(LIVES[from], event).facts.life.kind}`).toBe(
          `${event.type}: ${TABLE[from][event.type] ?? from}`,
        );
    });

  it('has nothing after a removal', () => {
    for (const event of EVENTS)
      expect(step(LIVES.removed, event)).toEqual({ facts: facts(LIVES.removed), effects: [] });
  });

  it('ignores events that make no sense in a state', () => {
    const nonsense: [Kind, ContainerEvent['type']][] = [
      ['created', 'started'],
      ['created', 'ended'],
      ['created', 'off'],
      ['exited', 'oom'],
      ['exited', 'off'],
      ['preparing', 'started'],
      ['preparing', 'failed'],
      ['powering', 'ended'],
      ['failing', 'started'],
      ['ending', 'ended'],
      ['running', 'failed'],
      ['dead', 'start'],
    ];
    for (const [from, type] of nonsense) {
      const event = EVENTS.find((one) => one.type === type)!;
      expect(nextContainer(facts(LIVES[from]), event)).toEqual({ facts: facts(LIVES[from]), effects: [] });
    }
  });
});

describe('effects', () => {
  it.each<[string, ContainerLife, ContainerEvent, string[]]>([
    [
      'its addresses are known before its machine is powered on',
      LIVES.preparing,
      { type: 'power', startedAt: began, endpoints: [] },
      ['tell starting'],
    ],
    ['a start is told of once its process runs', LIVES.powering, { type: 'started', pid: 9 }, ['tell started']],
    ['the machine is expected to go off', LIVES.running, { type: 'ended', exit: reported }, ['expectOff']],
    [
      'an end the guest told of needs no record',
      LIVES.running,
      { type: 'off', status: { kind: 'exited', code: 0, oomKilled: false, at: finished }, at: now },
      ['letGo', 'tell exited', 'removeIfWished'],
    ],
    [
      'an end that the guest could not tell of is recorded',
      LIVES.running,
      { type: 'off', status: { kind: 'none' }, at: now },
      ['letGo', 'keepEnd', 'tell exited', 'removeIfWished'],
    ],
    [
      'a run that was over before it was heard of is told of whole',
      LIVES.powering,
      { type: 'off', status: { kind: 'exited', code: 0, oomKilled: false, at: finished }, at: now },
      ['tell started', 'letGo', 'tell exited', 'removeIfWished'],
    ],
    ['a start that failed', LIVES.failing, { type: 'offOrLeft' }, ['letGo', 'tell startFailed', 'removeIfWished']],
    [
      'a start that failed before the guest could tell',
      { ...LIVES.failing, told: false },
      { type: 'offOrLeft' },
      ['letGo', 'keepFailure', 'tell startFailed', 'removeIfWished'],
    ],
    ['a removal', LIVES.exited, { type: 'gone', at: now }, ['letGo', 'tell removed']],
    [
      'a removal of one that runs',
      LIVES.running,
      { type: 'gone', at: now },
      ['letGo', 'tell exited', 'letGo', 'tell removed'],
    ],
  ])('%s', (_, life, event, effects) => expect(step(life, event).effects).toEqual(effects));

  it('report an out-of-memory kill only when it is new', () => {
    expect(step(LIVES.running, { type: 'oom', news: true }).effects).toEqual(['tell oom']);
    const again = step(LIVES.running, { type: 'oom', news: false });
    expect(again.effects).toEqual([]);
    expect(again.facts.life).toMatchObject({ run: { oomKilled: true } });
  });
});

describe('how a run ended', () => {
  const end = (life: ContainerLife, status: Extract<ContainerEvent, { type: 'off' }>['status']): unknown => {
    const after = step(life, { type: 'off', status, at: now }).facts.life;
    return after.kind === 'exited' ? after.run.end : after;
  };
  it('is what the guest recorded with its machine', () =>
    expect(end(LIVES.ending, { kind: 'exited', code: 5, oomKilled: true, at: finished })).toEqual({
      exitCode: 5,
      oomKilled: true,
      error: null,
      finishedAt: finished,
    }));
  it('is otherwise what it said on the channel', () =>
    expect(end(LIVES.ending, { kind: 'none' })).toMatchObject({ exitCode: 4, finishedAt: now }));
  it('is otherwise that it was killed', () =>
    expect(end({ kind: 'running', run: run({ oomKilled: true }) }, { kind: 'started', at: began, pid: 7 })).toEqual({
      exitCode: 137,
      oomKilled: true,
      error: null,
      finishedAt: now,
    }));
  it('is kept while it is started again, and after a failed start', () => {
    expect(step(exited, { type: 'start' }).facts.life).toMatchObject({ rest: exited });
    const { life, failure } = step(exited, { type: 'start' }, { type: 'offOrLeft' }).facts;
    expect(life).toMatchObject({ kind: 'exited', run: { startedAt: past.startedAt, end: { exitCode: 128 } } });
    expect(failure).toBeInstanceOf(Error);
  });
  it('becomes that of the previous run once it runs again', () => {
    const { life } = step({ ...LIVES.powering, rest: exited }, { type: 'started', pid: 1 }).facts;
    expect(life).toMatchObject({ kind: 'running', run: { last: past, startedAt: began } });
  });
});

describe('a start', () => {
  it('fails with what the guest recorded, where the channel said nothing', () => {
    const failed = { kind: 'failed', code: 127, message: 'exec: "x": not found' } as const;
    const { facts: after } = step(LIVES.powering, { type: 'off', status: failed, at: now });
    expect(after.failure).toEqual(notStarted('container', 127, failed.message));
    expect(after.life).toMatchObject({ kind: 'created', failure: { exitCode: 127 } });
  });
  it('fails if the machine powered off and nobody knows why', () => {
    const { facts: after } = step(LIVES.powering, { type: 'off', status: { kind: 'none' }, at: now });
    expect(after.failure?.message).toBe('container VM has unexpectedly powered off');
  });
  it('that is aborted while it is being prepared is not carried out', () => {
    const { facts: after } = step(LIVES.preparing, { type: 'abort', reason, exitCode: 128 }, EVENTS[1]!);
    expect(after.life).toEqual({ kind: 'preparing', rest: created, aborted: reason });
  });
  it('is refused for a container that is being removed', () =>
    expect(step(created, { type: 'mark', yes: true }, { type: 'start' }).facts.life).toBe(created));
  it('counts its end, so that waiters see it', () => {
    expect(step(LIVES.failing, { type: 'off', status: { kind: 'none' }, at: now }).facts.ends).toBe(1);
    expect(step(LIVES.running, { type: 'off', status: { kind: 'none' }, at: now }).facts.ends).toBe(1);
  });
});

describe('pausing', () => {
  const after = (pause: Pause, ...events: ContainerEvent[]): unknown => {
    const { facts: end, effects } = step({ kind: 'running', run: run({ pause }) }, ...events);
    return { ...(end.life.kind === 'running' ? end.life.run.pause : {}), effects };
  };
  const still = (yes: boolean): ContainerEvent => ({ type: 'still', yes, question: '' });
  const paused = (change: Partial<Extract<Pause, { kind: 'paused' }>> = {}): Pause => ({
    kind: 'paused',
    frozen: false,
    held: false,
    seen: null,
    ...change,
  });

  it.each<[string, Pause, ContainerEvent[], Pause, string[]]>([
    [
      'freezes, then suspends',
      { kind: 'no' },
      [{ type: 'frozen', yes: true }, still(true)],
      paused({ frozen: true }),
      ['tell paused'],
    ],
    ['somebody suspends the machine', { kind: 'no' }, [still(true)], paused(), ['tell paused']],
    ['and lets it go', paused(), [still(false)], { kind: 'no' }, ['tell unpaused', 'goOn']],
    [
      'and lets go one whose processes are frozen',
      paused({ frozen: true }),
      [still(false)],
      { kind: 'frozen', held: false },
      ['tell unpaused', 'goOn'],
    ],
    [
      'it is woken for its files',
      paused({ frozen: true, held: true }),
      [still(false)],
      paused({ frozen: true, held: true }),
      [],
    ],
    ['it is told twice', paused(), [still(true)], paused(), []],
    [
      'it goes on',
      paused({ held: true }),
      [
        { type: 'hold', yes: false },
        { type: 'pause', yes: false },
      ],
      { kind: 'no' },
      ['tell unpaused', 'goOn'],
    ],
  ])('%s', (_, pause, events, then, effects) => expect(after(pause, ...events)).toEqual({ ...then, effects }));

  it('says why a machine stopped by itself', () => {
    const full = step(LIVES.running, { type: 'still', yes: true, question: 'no space left on device' });
    expect(full.facts.standstill).toBe('no space left on device');
    expect(nextContainer(full.facts, still(false)).facts.standstill).toBe('');
  });

  it('ends with the run', () =>
    expect(step({ kind: 'running', run: run({ pause: paused() }) }, EVENTS[12]!).facts.life.kind).toBe('exited'));
});

it('is shown as Docker’s clients expect', () => {
  expect(Object.values(LIVES).map(shownState)).toEqual([
    'created',
    'exited',
    'starting',
    'starting',
    'starting',
    'running',
    'running',
    'removing',
    'dead',
    'removing',
  ]);
  expect(shownState({ kind: 'ending', run: run({ stop: { keep: false } }), reported })).toBe('stopping');
});
