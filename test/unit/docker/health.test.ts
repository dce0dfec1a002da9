import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  checkHealthConfig,
  type HealthCheck,
  healthCheck,
  mergeHealthConfig,
} from '../../../appliance/docker/health/health-check.js';
import { HealthMonitor, type ProbeOutcome } from '../../../appliance/docker/health/health-monitor.js';
import { type HealthState, startingHealth } from '../../../appliance/docker/health/health-state.js';
import { LimitedOutput } from '../../../appliance/docker/health/limited-output.js';
import { goDuration } from '../../../appliance/docker/values/human.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

const SECOND = 1e9;

describe('a health check', () => {
  it('comes from the request, and from the image where the request says nothing', () => {
    expect(mergeHealthConfig(null, undefined)).toBeUndefined();
    const image = { Test: ['CMD', 'true'], Interval: 5, Retries: 2 };
    expect(mergeHealthConfig(null, image)).toEqual(image);
    expect(mergeHealthConfig({ Timeout: 7, Interval: 0 }, image)).toEqual({ ...image, Timeout: 7 });
    expect(mergeHealthConfig({ Test: ['NONE'] }, image)).toEqual({ ...image, Test: ['NONE'] });
    expect(mergeHealthConfig({ Test: [] }, null)).toEqual({});
  });

  it('has Docker’s defaults', () => {
    const defaults = { intervalMs: 30_000, timeoutMs: 30_000, startPeriodMs: 0, startIntervalMs: 5000, retries: 3 };
    expect(healthCheck({ Test: ['CMD', 'a', 'b c'] }, undefined)).toEqual({ ...defaults, args: ['a', 'b c'] });
    expect(healthCheck({ Test: ['CMD-SHELL', 'a b'] }, undefined)?.args).toEqual(['/bin/sh', '-c', 'a b']);
    expect(healthCheck({ Test: ['CMD-SHELL', 'a b'], Retries: 1 }, ['ash', '-ec'])).toMatchObject({
      args: ['ash', '-ec', 'a b'],
      retries: 1,
    });
    for (const Test of [undefined, [], ['NONE'], ['OTHER', 'x']]) expect(healthCheck({ Test }, undefined)).toBeNull();
  });

  it.each([
    [{ Interval: 1 }, 'Interval in Healthcheck cannot be less than 1ms'],
    [{ Timeout: -SECOND }, 'Timeout in Healthcheck cannot be less than 1ms'],
    [{ Retries: -1 }, 'Retries in Healthcheck cannot be negative'],
    [{ StartPeriod: 999_999 }, 'StartPeriod in Healthcheck cannot be less than 1ms'],
    [{ StartInterval: 5 }, 'StartInterval in Healthcheck cannot be less than 1ms'],
  ])('%j: %s', (config, message) => {
    expect(() => checkHealthConfig(config)).toThrow(message);
  });

  it('prints durations as Go does', () => {
    expect([0, 0.5, 1.5, 500, 1000, 1500, 90_000, 3_600_000].map(goDuration)).toEqual([
      '0s',
      '500µs',
      '1.5ms',
      '500ms',
      '1s',
      '1.5s',
      '1m30s',
      '1h0m0s',
    ]);
  });

  it('keeps 4096 bytes of output', () => {
    const output = new LimitedOutput();
    output.add(Buffer.alloc(4000, 'x'));
    output.add(Buffer.alloc(96, 'y'));
    expect(String(output)).toHaveLength(4096);
    output.add(Buffer.from('z'));
    expect(String(output)).toMatch(/y\.\.\.$/);
    expect(String(output)).toHaveLength(4099);
  });
});

describe('the state machine', () => {
  const check: HealthCheck = {
    args: ['true'],
    intervalMs: 1000,
    timeoutMs: 1000,
    startPeriodMs: 0,
    startIntervalMs: 100,
    retries: 2,
  };
  let state: HealthState;
  let probes: number[];
  let monitor: HealthMonitor;
  let answers: (number | Error)[];
  const watch = (changes: Partial<HealthCheck>, probe?: (signal: AbortSignal) => Promise<ProbeOutcome>): void => {
    const begun = Date.now();
    monitor = new HealthMonitor({
      check: { ...check, ...changes },
      startedAt: new Date(),
      state: () => state,
      changed: (next) => {
        state = next;
      },
      probe:
        probe ??
        (async () => {
          probes.push(Date.now() - begun);
          const answer = answers.shift() ?? 0;
          if (answer instanceof Error) throw answer;
          return { exitCode: answer, output: `${answer}` };
        }),
    });
  };
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  beforeEach(() => {
    vi.useFakeTimers();
    state = startingHealth(null);
    probes = [];
    answers = [];
  });
  afterEach(() => {
    monitor.stop();
    vi.useRealTimers();
  });

  it('goes from starting to healthy, to unhealthy after enough failures in a row, and back', async () => {
    answers = [0, 1, 0, 1, 1, 0];
    watch({});
    const seen: [string, number][] = [];
    for (let i = 0; i < 6; i++) {
      await pass(1000);
      seen.push([state.status, state.failingStreak]);
    }
    expect(seen).toEqual([
      ['healthy', 0],
      ['healthy', 1],
      ['healthy', 0],
      ['healthy', 1],
      ['unhealthy', 2],
      ['healthy', 0],
    ]);
    expect(state.log.map(({ exitCode }) => exitCode)).toEqual([1, 0, 1, 1, 0]);
  });

  it('does not count failures in the start period, and probes more often in it', async () => {
    answers = [1, 1, 1, 1, 1, 1, 1];
    watch({ startPeriodMs: 350 });
    await pass(349);
    expect(probes).toEqual([100, 200, 300]);
    expect(state).toMatchObject({ status: 'starting', failingStreak: 0 });
    await pass(2100);
    expect(probes).toEqual([100, 200, 300, 400, 1400, 2400]);
    expect(state).toMatchObject({ status: 'unhealthy', failingStreak: 3 });
  });

  it('counts failures in the start period once it was healthy', async () => {
    answers = [0, 1, 1];
    watch({ startPeriodMs: 60_000 });
    await pass(100);
    expect(state.status).toBe('healthy');
    await pass(2000);
    expect(state).toMatchObject({ status: 'unhealthy', failingStreak: 2 });
  });

  it('counts a probe that cannot be run as a failure', async () => {
    answers = [new Error('no such thing')];
    watch({ retries: 1 });
    await pass(1300);
    expect(state.status).toBe('unhealthy');
    expect(state.log[0]).toMatchObject({ exitCode: -1, output: 'no such thing' });
  });

  it('ignores a probe that ends with its container', async () => {
    answers = [137];
    watch({ retries: 1 });
    await pass(1100);
    monitor.stop();
    await pass(1000);
    expect(state).toMatchObject({ status: 'starting', log: [] });
  });

  it('counts the interval from the end of a probe, and drops one that is under way when it stops', async () => {
    let ended = 0;
    watch({}, async (signal) => {
      probes.push(Date.now());
      await new Promise((resolve) => setTimeout(resolve, 700));
      if (signal.aborted) ended++;
      return { exitCode: 1, output: '' };
    });
    const begun = Date.now();
    await pass(3000);
    expect(probes.map((at) => at - begun)).toEqual([1000, 2700]);
    monitor.stop();
    await pass(10_000);
    expect(ended).toBe(1);
    expect(probes).toHaveLength(2);
    expect(state.log).toHaveLength(1);
  });
});

describe('a container with a health check', () => {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await startTestEngine();
  });
  afterEach(() => void vi.useRealTimers());
  afterAll(() => engine.close());
  const inspect = async (name: string) => (await engine.call('GET', `/containers/${name}/json`)).json;
  const list = async (filters: object) =>
    (await engine.call('GET', `/containers/json?all=1&filters=${encodeURIComponent(JSON.stringify(filters))}`)).json;

  it('is probed by execs and shown as healthy or not, and not probed once it has ended', async () => {
    const Healthcheck = {
      Test: ['CMD-SHELL', 'echo looked; test -z "$SICK"'],
      Interval: SECOND / 20,
      Retries: 1,
    };
    // No probe is due before the test has looked.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await engine.call('POST', '/containers/create?name=well', { Image: 'busybox', Cmd: ['sleep', '60'], Healthcheck });
    expect((await inspect('well')).State.Health).toBeUndefined();
    await engine.call('POST', '/containers/well/start');
    expect((await list({ name: ['well'] }))[0].Status).toMatch(/^Up .* \(health: starting\)$/);
    vi.advanceTimersByTime(50);
    await expect.poll(async () => (await inspect('well')).State.Health.Status).toBe('healthy');
    vi.useRealTimers();
    const { Health } = (await inspect('well')).State;
    expect(Health).toMatchObject({ FailingStreak: 0 });
    expect(Health.Log[0]).toEqual({
      Start: expect.stringMatching(/^\d{4}-/),
      End: expect.stringMatching(/^\d{4}-/),
      ExitCode: 0,
      Output: 'looked\n',
    });
    expect((await inspect('well')).Config.Healthcheck).toEqual(Healthcheck);
    expect((await list({ health: ['healthy'] }))[0].Status).toMatch(/^Up .* \(healthy\)$/);
    const until = (Date.now() / 1000 + 0.01).toFixed(3);
    const { text } = await engine.call('GET', `/events?since=1&until=${until}`);
    const actions = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
    const first = actions.indexOf('start');
    const command = '/bin/sh -c echo looked; test -z "$SICK"';
    expect(actions.slice(first, first + 5)).toEqual([
      'start',
      `exec_create: ${command}`,
      `exec_start: ${command}`,
      'exec_die',
      'health_status: healthy',
    ]);
    await engine.restart();
    await expect.poll(async () => (await inspect('well')).State.Health?.Status).toBe('healthy');
    await engine.call('POST', '/containers/well/stop?t=0');
    expect((await inspect('well')).State.Health.Status).toBe('unhealthy');
    expect(await list({ health: ['none'] })).toEqual([]);
  });

  it('keeps its health over a restart of the engine, and is probed when it is due', async () => {
    const Healthcheck = { Test: ['CMD-SHELL', 'echo no; exit 1'], Interval: 60 * SECOND, Retries: 9 };
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    await engine.call('POST', '/containers/create?name=kept', { Image: 'busybox', Cmd: ['sleep', '60'], Healthcheck });
    await engine.call('POST', '/containers/kept/start');
    const health = async () => (await inspect('kept')).State.Health;
    vi.advanceTimersByTime(60_000);
    await expect.poll(async () => (await health()).FailingStreak).toBe(1);
    const before = await health();
    const id = (await inspect('kept')).Id as string;
    // A probe with the same result as the last one is not worth a write.
    expect(engine.portLayer.stored.has(`health.${id}`)).toBe(false);
    await engine.restart();
    expect(engine.portLayer.stored.has(`health.${id}`)).toBe(true);
    expect(await health()).toEqual(before);
    vi.advanceTimersByTime(60_000);
    await expect.poll(async () => (await health()).FailingStreak).toBe(2);
    const { Log } = await health();
    expect(Date.parse(Log[1].Start) - Date.parse(Log[0].End)).toBe(60_000);
    await engine.call('POST', '/containers/kept/stop?t=0');
    const ended = await health();
    expect(ended.Status).toBe('unhealthy');
    await engine.restart();
    expect(await health()).toEqual(ended);
    // Another run starts over.
    await engine.call('POST', '/containers/kept/start');
    expect(await health()).toMatchObject({ Status: 'starting', FailingStreak: 0 });
    await engine.call('DELETE', '/containers/kept?force=1');
    await expect.poll(() => engine.portLayer.stored.has(`health.${id}`)).toBe(false);
  });

  it('starts anew when its record is damaged', async () => {
    const Healthcheck = { Test: ['CMD', 'true'] };
    await engine.call('POST', '/containers/create?name=odd', { Image: 'busybox', Cmd: ['sleep', '60'], Healthcheck });
    await engine.call('POST', '/containers/odd/start');
    const id = (await inspect('odd')).Id as string;
    for (const text of ['', '{', '{"run":1}', `{"run":null,"status":"healthy","failingStreak":-1,"log":[]}`]) {
      await engine.restart();
      engine.portLayer.stored.set(`health.${id}`, Buffer.from(text));
      await engine.restart();
      expect((await inspect('odd')).State.Health.Status).toBe('starting');
    }
    await engine.call('DELETE', '/containers/odd?force=1');
  });

  it('has a start interval since 1.44', async () => {
    const Healthcheck = { Test: ['CMD', 'true'], StartInterval: SECOND };
    await engine.call('POST', '/v1.43/containers/create?name=old', { Image: 'busybox', Healthcheck });
    await engine.call('POST', '/v1.44/containers/create?name=new', { Image: 'busybox', Healthcheck });
    expect((await inspect('old')).Config.Healthcheck).toEqual({ Test: ['CMD', 'true'] });
    expect((await inspect('new')).Config.Healthcheck).toEqual(Healthcheck);
  });

  it('whose probe takes too long is unhealthy, and the probe is killed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-health-'));
    const begun = join(directory, 'begun');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await engine.call('POST', '/containers/create?name=slow', {
      Image: 'busybox',
      Cmd: ['sleep', '60'],
      Healthcheck: {
        Test: ['CMD-SHELL', `echo begun; touch ${begun}; exec sleep 50`],
        Interval: SECOND / 20,
        Timeout: SECOND / 5,
        Retries: 1,
      },
    });
    await engine.call('POST', '/containers/slow/start');
    vi.advanceTimersByTime(50);
    await expect.poll(() => existsSync(begun)).toBe(true);
    const health = async (): Promise<string> => {
      vi.advanceTimersByTime(100);
      return (await inspect('slow')).State.Health.Status;
    };
    await expect.poll(health).toBe('unhealthy');
    vi.useRealTimers();
    expect((await inspect('slow')).State.Health.Log[0]).toMatchObject({
      ExitCode: -1,
      Output: 'Health check exceeded timeout (200ms): begun\n',
    });
    await engine.call('DELETE', '/containers/slow?force=1');
    rmSync(directory, { recursive: true });
  });
});
