/** What follows an event in a container's life, as one pure function. An event that means nothing in the current state changes nothing. */
import { internal } from '../../src/common/errors.js';
import { errorRecord, exitCodeOf, PortLayerError } from '../errors.js';
import {
  type ContainerEffect,
  type ContainerEvent,
  type ContainerFacts,
  type ContainerLife,
  type FoundRun,
  hasRun,
  isStarting,
  type PastRun,
  type Pause,
  type Resting,
  type Run,
  restOf,
} from './container-life.js';
import { KILLED, notStarted, outcome, type RunStatus } from './run-status.js';

/** The new facts, and what has to be done. */
export interface ContainerStep {
  facts: ContainerFacts;
  effects: ContainerEffect[];
}

const NOT_PAUSED: Pause = { kind: 'no' };

/** What follows an event. */
export function nextContainer(facts: ContainerFacts, event: ContainerEvent): ContainerStep {
  const { life } = facts;
  const same: ContainerStep = { facts, effects: [] };
  const become = (next: ContainerLife, ...effects: ContainerEffect[]): ContainerStep => ({
    facts: { ...facts, life: next },
    effects,
  });
  if (life.kind === 'removed') return same;
  switch (event.type) {
    case 'start':
      if (life.kind !== 'created' && life.kind !== 'exited') return same;
      if (facts.marked) return same;
      return {
        facts: { ...facts, failure: null, life: { kind: 'preparing', rest: life, aborted: null } },
        effects: [],
      };
    case 'power':
      if (life.kind !== 'preparing' || life.aborted !== null) return same;
      return become(
        {
          kind: 'powering',
          rest: life.rest,
          startedAt: event.startedAt,
          endpoints: event.endpoints,
          oomKilled: false,
        },
        { do: 'tell', of: 'starting' },
      );
    case 'abort':
      // The code that prepares the start will notice this and give up.
      if (life.kind === 'preparing' && life.aborted === null) return become({ ...life, aborted: event.reason });
      return life.kind === 'powering' ? become(failing(life, event, false)) : same;
    case 'failed':
      return life.kind === 'powering' ? become(failing(life, event, true)) : same;
    case 'started':
      if (life.kind === 'powering') return become(running(life, event.pid), { do: 'tell', of: 'started' });
      if (!hasRun(life) || event.pid === life.run.pid) return same;
      return become({ ...life, run: { ...life.run, pid: event.pid } });
    case 'ended':
      if (life.kind !== 'running') return same;
      return become({ kind: 'ending', run: life.run, reported: event.exit }, { do: 'expectOff' });
    case 'oom':
      return outOfMemory(facts, event.news);
    case 'found':
      if (life.kind !== 'created' && life.kind !== 'exited') return same;
      return become(found(life, event.run), { do: 'tell', of: 'started' });
    case 'off':
      return off(facts, event.status, event.at);
    case 'networks':
      if (life.kind === 'powering') return become({ ...life, endpoints: event.endpoints });
      return hasRun(life) ? become({ ...life, run: { ...life.run, endpoints: event.endpoints } }) : same;
    case 'offOrLeft':
      if (life.kind === 'preparing')
        return failed(facts, life.rest, life.aborted ?? internal('the start was given up'));
      return life.kind === 'failing' ? failed(facts, life.rest, life.reason, life) : same;
    case 'stop':
      return hasRun(life) ? become({ ...life, run: { ...life.run, stop: { keep: event.keep } } }) : same;
    case 'mark':
      return { facts: { ...facts, marked: event.yes }, effects: [] };
    case 'remove':
      if (life.kind !== 'created' && life.kind !== 'exited' && life.kind !== 'dead') return same;
      return become({ kind: 'removing', rest: restOf(life) });
    case 'removeFailed':
      return life.kind === 'removing' ? become({ kind: 'dead', rest: life.rest, error: event.error }) : same;
    case 'gone':
      return gone(facts, event.at);
    case 'still': {
      if (!hasRun(life)) return same;
      const told = { ...facts, standstill: event.yes ? event.question : '' };
      // While `held`, a machine that goes on does not mean that the container does.
      const held = life.run.pause.kind !== 'no' && life.run.pause.held;
      return event.yes || !held ? paused(told, event.yes) : { facts: told, effects: [] };
    }
    case 'pause':
      return paused(facts, event.yes);
    default:
      return hasRun(life) ? become({ ...life, run: { ...life.run, pause: pauseAfter(life.run.pause, event) } }) : same;
  }
}

function failing(
  { rest }: Extract<ContainerLife, { kind: 'powering' }>,
  { reason, exitCode }: { reason: Error; exitCode: number },
  told: boolean,
): ContainerLife {
  return { kind: 'failing', rest, reason, exitCode, told };
}

function running(
  { rest, startedAt, endpoints, oomKilled }: Extract<ContainerLife, { kind: 'powering' }>,
  pid: number,
): Extract<ContainerLife, { run: Run; kind: 'running' }> {
  const last = rest.kind === 'exited' ? rest.run : null;
  return { kind: 'running', run: { startedAt, pid, endpoints, oomKilled, last, pause: NOT_PAUSED, stop: null } };
}

function found(rest: Resting, { suspended, frozen, ...run }: FoundRun): ContainerLife {
  const last = run.last ?? (rest.kind === 'exited' && rest.run.startedAt < run.startedAt ? rest.run : null);
  // Frozen in a machine that is awake: an earlier endpoint was reading its files.
  const held = frozen && !suspended;
  const pause: Pause = frozen || suspended ? { kind: 'paused', frozen, held, seen: null } : NOT_PAUSED;
  return { kind: 'running', run: { ...run, last, oomKilled: false, pause, stop: null } };
}

function outOfMemory(facts: ContainerFacts, news: boolean): ContainerStep {
  const { life } = facts;
  const effects: ContainerEffect[] = news ? [{ do: 'tell', of: 'oom' }] : [];
  if (life.kind === 'powering') return { facts: { ...facts, life: { ...life, oomKilled: true } }, effects };
  if (!hasRun(life)) return { facts, effects: [] };
  return { facts: { ...facts, life: { ...life, run: { ...life.run, oomKilled: true } } }, effects };
}

/** The machine is off, and so is everything that ran in it. */
function off(facts: ContainerFacts, status: RunStatus, at: Date): ContainerStep {
  const { life } = facts;
  if (hasRun(life)) return exited(facts, life, status, at);
  if (life.kind === 'failing') return failed(facts, life.rest, life.reason, life);
  if (life.kind !== 'powering') return { facts, effects: [] };
  switch (status.kind) {
    case 'failed': {
      return failed(facts, life.rest, notStarted('container', status.code, status.message), { told: true });
    }
    case 'none':
      return failed(facts, life.rest, new PortLayerError('start.poweredOff', {}));
    default: {
      // It ran and ended before we heard that it had started.
      const ran = running(life, status.kind === 'started' ? status.pid : 0);
      const step = exited({ ...facts, life: ran }, ran, status, at);
      return { ...step, effects: [{ do: 'tell', of: 'started' }, ...step.effects] };
    }
  }
}

function exited(
  facts: ContainerFacts,
  life: Extract<ContainerLife, { run: Run }>,
  status: RunStatus,
  at: Date,
): ContainerStep {
  const { startedAt, oomKilled, stop } = life.run as Run;
  const killed = life.kind === 'ending' ? life.reported : { at, exitCode: KILLED, oomKilled };
  const { endpoints } = life.run;
  const run: PastRun = { startedAt, end: outcome(status, killed), ...(endpoints.length > 0 ? { endpoints } : {}) };
  const unsaid = status.kind !== 'exited' && status.kind !== 'failed';
  return {
    facts: {
      ...facts,
      life: { kind: 'exited', run, keep: stop?.keep === true },
      ends: facts.ends + 1,
      standstill: '',
    },
    effects: [
      { do: 'letGo', now: false },
      ...(unsaid ? [{ do: 'keepEnd', run } as const] : []),
      { do: 'tell', of: 'exited' },
      { do: 'removeIfWished' },
    ],
  };
}

function failed(
  facts: ContainerFacts,
  rest: Resting,
  reason: Error,
  { exitCode = exitCodeOf(reason), told = false }: { exitCode?: number; told?: boolean } = {},
): ContainerStep {
  const error = errorRecord(reason);
  const life: Resting =
    rest.kind === 'created'
      ? { kind: 'created', failure: { exitCode, error } }
      : { ...rest, run: { ...rest.run, end: { ...rest.run.end, exitCode, error, oomKilled: false } }, keep: false };
  return {
    facts: { ...facts, life, failure: reason, ends: facts.ends + 1 },
    effects: [
      { do: 'letGo', now: false },
      ...(told ? [] : [{ do: 'keepFailure', rest: life } as const]),
      { do: 'tell', of: 'startFailed' },
      { do: 'removeIfWished' },
    ],
  };
}

/** It no longer belongs to us, whatever it was doing. */
function gone(facts: ContainerFacts, at: Date): ContainerStep {
  const { life } = facts;
  let before: ContainerStep = { facts, effects: [] };
  if (hasRun(life)) before = exited(facts, life, { kind: 'none' }, at);
  else if (isStarting(life)) before = failed(facts, restOf(life), new PortLayerError('start.beingRemoved', {}));
  return {
    facts: { ...before.facts, life: { kind: 'removed', rest: restOf(before.facts.life) } },
    effects: [
      ...before.effects.filter((effect) => effect.do === 'tell' || effect.do === 'letGo'),
      { do: 'letGo', now: true },
      { do: 'tell', of: 'removed' },
    ],
  };
}

/** It is paused or goes on, and everybody is told. */
function paused(facts: ContainerFacts, yes: boolean): ContainerStep {
  const { life } = facts;
  if (!hasRun(life)) return { facts, effects: [] };
  const before = life.run.pause;
  if ((before.kind === 'paused') === yes) return { facts, effects: [] };
  const frozen = before.kind === 'frozen' || (before.kind === 'paused' && before.frozen);
  const held = before.kind !== 'no' && before.held;
  const pause: Pause = yes
    ? { kind: 'paused', frozen, held, seen: null }
    : frozen
      ? { kind: 'frozen', held: false }
      : NOT_PAUSED;
  return {
    facts: { ...facts, life: { ...life, run: { ...life.run, pause } } },
    effects: yes
      ? [{ do: 'tell', of: 'paused' }]
      : [
          { do: 'tell', of: 'unpaused' },
          { do: 'goOn', thaw: frozen },
        ],
  };
}

function pauseAfter(pause: Pause, event: Extract<ContainerEvent, { type: 'frozen' | 'hold' | 'seen' }>): Pause {
  switch (event.type) {
    case 'frozen':
      if (pause.kind === 'paused') return { ...pause, frozen: event.yes };
      if (event.yes === (pause.kind === 'frozen')) return pause;
      return event.yes ? { kind: 'frozen', held: false } : NOT_PAUSED;
    case 'hold':
      return pause.kind === 'no' ? pause : { ...pause, held: event.yes };
    case 'seen':
      return pause.kind === 'paused' ? { ...pause, seen: event.seen } : pause;
  }
}
