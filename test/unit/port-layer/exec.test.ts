/** What the exec component reads from VMs: its record and its status. */
import { describe, expect, it } from 'vitest';
import { dockerMessageOf } from '../../../appliance/docker/words/docker-message.js';
import { type PastRun, type Resting, type Run, untouched } from '../../../port-layer/exec/container-life.js';
import {
  currentRecord,
  foundRest,
  foundRun,
  killedRecord,
  newRecord,
  parseRunRecord,
} from '../../../port-layer/exec/run-record.js';
import { KILLED, outcome, parseRunStatus } from '../../../port-layer/exec/run-status.js';

const at = new Date('2026-11-21T06:00:00Z');

describe('a run’s status', () => {
  it.each([
    ['started 1700000000123456789 42', { kind: 'started', at: new Date(1_700_000_000_123), pid: 42 }],
    ['failed 127 exec: "x": not found', { kind: 'failed', code: 127, message: 'exec: "x": not found' }],
    ['exited 137 9 1 1700000000000000000', { kind: 'exited', code: 137, oomKilled: true, at: new Date(1.7e12) }],
    ['', { kind: 'none' }],
    [undefined, { kind: 'none' }],
    ['dances', { kind: 'none' }],
  ])('%j', (text, status) => expect(parseRunStatus(text)).toEqual(status));

  it.each([
    ['exited 99999999999999999999 x y z', 0],
    ['exited -5', 0],
    ['exited 511 0 0 99999999999999999999999', 255],
  ])('%j of a hostile guest gives a code and a date that can be shown', (text, code) => {
    const status = parseRunStatus(text);
    expect(status).toMatchObject({ kind: 'exited', code });
    if (status.kind === 'exited') expect(() => status.at.toISOString()).not.toThrow();
  });
});

describe('how a run ended', () => {
  it('is what the guest reported', () => {
    const status = parseRunStatus('exited 3 0 0 1700000000000000000');
    expect(outcome(status, { at, exitCode: KILLED })).toEqual({
      exitCode: 3,
      oomKilled: false,
      error: null,
      finishedAt: new Date(1.7e12),
    });
  });

  it('is a kill where the guest reported nothing', () => {
    expect(outcome({ kind: 'none' }, { at, exitCode: KILLED })).toMatchObject({ exitCode: 137, finishedAt: at });
    expect(outcome({ kind: 'started', at, pid: 1 }, { at, exitCode: KILLED, oomKilled: true }).oomKilled).toBe(true);
  });

  it('has Docker’s message for a process that could not start', () => {
    const status = parseRunStatus('failed 126 exec: "x": permission denied');
    const { exitCode, error } = outcome(status, { at, exitCode: KILLED });
    expect(exitCode).toBe(126);
    expect(dockerMessageOf(error)).toMatch(/^failed to create task for container: .*exec: "x": permission denied$/);
  });
});

describe('a run’s record', () => {
  it('is read back', () => {
    const record = { startedAt: at.toISOString(), endpoints: [], killed: { at: at.toISOString(), exitCode: 137 } };
    expect(parseRunRecord(JSON.stringify(record))).toEqual(record);
  });
  it.each([undefined, '', 'x', 'null', '7', '{}', '{"startedAt":1,"endpoints":[]}', '{"startedAt":"x"}'])(
    '%j is not a record',
    (text) => expect(parseRunRecord(text)).toBeNull(),
  );
});

describe('after a restart of the endpoint', () => {
  const created: Resting = { kind: 'created', failure: null };
  const last: PastRun = {
    startedAt: new Date('2026-11-20T06:00:00.007Z'),
    end: { exitCode: 3, oomKilled: false, error: null, finishedAt: new Date('2026-11-20T07:00:00.009Z') },
  };
  const exited: Resting = { kind: 'exited', run: last, keep: false };
  const run: Run = {
    startedAt: new Date('2026-11-21T06:00:00.123Z'),
    pid: 1,
    endpoints: [],
    oomKilled: false,
    last,
    pause: { kind: 'no' },
    stop: null,
  };
  /** As the host stores it. */
  const kept = (record: unknown): ReturnType<typeof parseRunRecord> => parseRunRecord(JSON.stringify(record));
  const started = { kind: 'started', at: new Date('2026-11-21T06:00:01.456Z'), pid: 7 } as const;
  const ended = { kind: 'exited', code: 4, oomKilled: true, at: new Date('2026-11-21T06:00:09.789Z') } as const;

  it('a run keeps its recorded start time', () => {
    const record = kept(newRecord(run.startedAt, [], exited));
    const rest = foundRest(record, started, true);
    expect(rest).toEqual(exited);
    expect(foundRun(untouched(rest), { record, status: started, suspended: false }, at)).toEqual({
      run: { startedAt: run.startedAt, pid: 7, endpoints: [], last, frozen: false, suspended: false },
      recorded: true,
    });
  });

  it('also where it has been paused since', () => {
    const life = { kind: 'running', run: { ...run, pause: { kind: 'frozen', held: false } } } as const;
    const record = kept(currentRecord({ ...untouched(created), life }));
    const found = foundRun(untouched(exited), { record, status: started, suspended: true }, at);
    expect(found.run).toMatchObject({ startedAt: run.startedAt, frozen: true, suspended: true, last });
  });

  it('a run ended as the guest reported', () =>
    expect(foundRest(kept(newRecord(run.startedAt, [], created)), ended, false)).toEqual({
      kind: 'exited',
      run: { startedAt: run.startedAt, end: { exitCode: 4, oomKilled: true, error: null, finishedAt: ended.at } },
      keep: false,
    }));

  it('or as it was seen to end, where the guest reported nothing', () => {
    const end = { exitCode: KILLED, oomKilled: true, error: null, finishedAt: at };
    const record = kept(killedRecord({ startedAt: run.startedAt, end }));
    expect(foundRest(record, started, false)).toMatchObject({ run: { startedAt: run.startedAt, end } });
  });

  it('a failed start leaves the previous run', () => {
    const status = parseRunStatus('failed 127 exec: "x": not found');
    expect(foundRest(kept(newRecord(run.startedAt, [], created)), status, false)).toMatchObject({
      kind: 'created',
      failure: { exitCode: 127 },
    });
    expect(foundRest(kept(newRecord(run.startedAt, [], exited)), status, false)).toMatchObject({
      kind: 'exited',
      run: { startedAt: last.startedAt, end: { exitCode: 127, finishedAt: last.end.finishedAt } },
    });
  });

  it('a VM that an administrator powered on has the start time of its guest', () => {
    const killed = kept(killedRecord(last));
    const old = kept(newRecord(last.startedAt, [], created));
    for (const [record, rest] of [
      [null, created],
      [killed, foundRest(killed, started, true)],
      [old, exited],
      [old, foundRest(old, started, true)],
    ] as const)
      expect(foundRun(untouched(rest), { record, status: started, suspended: false }, at)).toMatchObject({
        run: { startedAt: started.at },
        recorded: false,
      });
  });
});
