/** What the exec component reads from VMs, its record and its status. */
import { describe, expect, it } from 'vitest';
import { parseRunRecord } from '../../../port-layer/exec/run-record.js';
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
  ])('%j of a hostile guest is a code and a date that can be shown', (text, code) => {
    const status = parseRunStatus(text);
    expect(status).toMatchObject({ kind: 'exited', code });
    if (status.kind === 'exited') expect(() => status.at.toISOString()).not.toThrow();
  });
});

describe('how a run ended', () => {
  it('is what the guest said', () => {
    const status = parseRunStatus('exited 3 0 0 1700000000000000000');
    expect(outcome(status, { at, exitCode: KILLED })).toEqual({
      exitCode: 3,
      oomKilled: false,
      error: '',
      finishedAt: new Date(1.7e12),
    });
  });

  it('is a kill where it said nothing', () => {
    expect(outcome({ kind: 'none' }, { at, exitCode: KILLED })).toMatchObject({ exitCode: 137, finishedAt: at });
    expect(outcome({ kind: 'started', at, pid: 1 }, { at, exitCode: KILLED, oomKilled: true }).oomKilled).toBe(true);
  });

  it('is Docker’s message for a process that could not start', () => {
    const status = parseRunStatus('failed 126 exec: "x": permission denied');
    expect(outcome(status, { at, exitCode: KILLED })).toMatchObject({
      exitCode: 126,
      error: expect.stringMatching(/^failed to create task for container: .*exec: "x": permission denied$/),
    });
  });
});

describe('a run’s record', () => {
  it('is read back', () => {
    const record = { startedAt: at.toISOString(), endpoints: [], killed: { at: at.toISOString(), exitCode: 137 } };
    expect(parseRunRecord(JSON.stringify(record))).toEqual(record);
  });
  it.each([undefined, '', 'x', 'null', '7', '{}', '{"startedAt":1,"endpoints":[]}', '{"startedAt":"x"}'])(
    '%j is none',
    (text) => expect(parseRunRecord(text)).toBeNull(),
  );
});
