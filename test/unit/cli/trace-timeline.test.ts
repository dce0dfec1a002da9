import { expect, it } from 'vitest';
import { printTimeline, timelineOf, traceEvents } from '../../../src/cli/trace-timeline.js';

const line = (second: number, span: string, rest: object = {}): string =>
  JSON.stringify({ level: 'trace', time: new Date(Math.round(second * 1000)).toISOString(), span, ...rest });

const ENDPOINT = [
  line(1, 'begins POST /v1.47/containers/create?name=a', { op: 'aa' }),
  '{"level":"info","msg":"no span"}',
  '{"span": torn',
  line(2, 'begins POST /containers/create', { op: 'bb' }),
  line(2.03, 'vim25 CreateVM_Task', { ms: 20, op: 'bb' }),
  line(2.04, 'vim25 WaitForUpdatesEx', { ms: 900 }),
].join('\n');
const HOSTD = [
  line(2.02, 'hostd soap', { ms: 5, op: 'bb' }),
  line(2.5, 'guest info-set guestinfo.caisson.run.timeline seed 0.0, nic 14.5', { op: 'cc' }),
].join('\n');
const events = [...traceEvents(HOSTD, 'hostd'), ...traceEvents(ENDPOINT, 'endpoint')];

it('begins with the creation of the latest container and is ordered by start time', () => {
  expect(timelineOf(events).map(({ at, what }) => [at, what.slice(0, 14)])).toEqual([
    [2000, 'begins POST /c'],
    [2010, 'vim25 CreateVM'],
    [2015, 'hostd soap'],
    [2500, 'guest info-set'],
  ]);
});

it('ends where the next container was created', () => {
  expect(timelineOf(events, 2).map(({ op }) => op)).toEqual(['aa']);
  expect(() => timelineOf(events, 3)).toThrow('2 containers were created');
});

it('prints one line for each step of the guest', () => {
  expect(printTimeline(timelineOf(events))).toBe(`   at ms  took ms  who       what
     0.0           endpoint  begins POST /containers/create  [bb]
    10.0     20.0  endpoint  vim25 CreateVM_Task  [bb]
    15.0      5.0  hostd     hostd soap  [bb]
              0.0  guest     seed
             14.5  guest     nic
`);
});
