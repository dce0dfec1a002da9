import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { RestartBackoff, type RestartPolicy } from '../../../appliance/docker/restart/restart-policy.js';
import { RestartSupervisor } from '../../../appliance/docker/restart/restart-supervisor.js';
import { setRestartPolicy } from '../../../appliance/docker/restart/set-policy.js';
import type { ContainerInfo } from '../../../port-layer/index.js';
import { internal, unavailable } from '../../../src/common/errors.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

const policy = (name: RestartPolicy['name'], maximumRetryCount = 0): RestartPolicy => ({ name, maximumRetryCount });
const run = (exitCode = 0, durationMs = 0, manuallyStopped = false) => ({ exitCode, durationMs, manuallyStopped });

describe('the back-off', () => {
  it('doubles from 100 ms to a minute, and starts over after 10 s of running', () => {
    const backoff = new RestartBackoff();
    const pauses = Array.from({ length: 12 }, () => backoff.next(policy('always'), run(0, 9999)));
    expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    expect(backoff.next(policy('always'), run(0, 10_000))).toBe(100);
    expect(backoff.count).toBe(13);
    backoff.reset();
    expect(backoff.count).toBe(0);
  });

  it.each([
    ['no', 0, run(1), null],
    ['always', 0, run(0), 100],
    ['always', 0, run(0, 0, true), 100],
    ['unless-stopped', 0, run(0), 100],
    ['unless-stopped', 0, run(1, 0, true), null],
    ['on-failure', 0, run(0), null],
    ['on-failure', 0, run(1), 100],
    ['on-failure', 0, run(1, 0, true), 100],
  ] as const)('%s (%i) after %j: %s', (name, count, ended, expected) => {
    expect(new RestartBackoff(count).next(policy(name), ended)).toBe(expected);
  });

  it('gives up after the number of restarts that on-failure allows', () => {
    const backoff = new RestartBackoff();
    const limited = policy('on-failure', 2);
    expect([1, 2, 3].map(() => backoff.next(limited, run(1)))).toEqual([100, 200, null]);
    expect(backoff.count).toBe(2);
  });
});

describe('the supervisor', () => {
  const ended = (exitCode: number): ContainerInfo =>
    ({
      spec: {
        id: 'box',
        annotations: { 'docker.hostConfig': JSON.stringify({ RestartPolicy: { Name: 'unless-stopped' } }) },
      },
      state: 'exited',
      exitCode,
      startedAt: new Date(0),
      finishedAt: new Date(0),
    }) as unknown as ContainerInfo;
  let starts: { resolve(): void; reject(error: Error): void; kept: Record<string, string> }[];
  let kept: Record<string, string>;
  let supervisor: RestartSupervisor;

  beforeEach(() => {
    vi.useFakeTimers();
    starts = [];
    kept = {};
    supervisor = new RestartSupervisor({
      list: () => [ended(1)],
      start: (_id, annotations) =>
        new Promise((resolve, reject) => starts.push({ resolve, reject, kept: annotations() })),
      annotate: async (_id, annotations) => void Object.assign(kept, annotations),
    });
  });
  afterEach(() => {
    supervisor.close();
    vi.useRealTimers();
  });

  it('starts a container after the pause, and stores the count', async () => {
    supervisor.ended(ended(1));
    expect(supervisor.isRestarting('box')).toBe(true);
    await vi.advanceTimersByTimeAsync(99);
    expect(starts).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(starts[0]?.kept).toEqual({ 'docker.restart': '{"count":1,"stopped":false}' });
    expect([supervisor.isRestarting('box'), supervisor.isWaiting('box')]).toEqual([true, false]);
    starts[0]!.resolve();
    await vi.advanceTimersByTimeAsync(0);
    expect(supervisor.isRestarting('box')).toBe(false);
    supervisor.ended(ended(1));
    await vi.advanceTimersByTimeAsync(199);
    expect(starts).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(starts).toHaveLength(2);
    expect(supervisor.restartCount(ended(1))).toBe(2);
  });

  it('gives up between two runs when a user stops the container, and tells those who wait', async () => {
    supervisor.ended(ended(1));
    const told = vi.fn();
    void supervisor.notRestarted('box', new AbortController().signal).then(told);
    expect(await supervisor.signalled(ended(1), true)).toBe(true);
    expect(told).toHaveBeenCalled();
    expect(kept).toEqual({ 'docker.restart': '{"count":1,"stopped":true}' });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(starts).toHaveLength(0);
    // Nor does a restarted engine start it.
    await supervisor.restore();
    expect(starts).toHaveLength(0);
  });

  it('leaves a signal to the process that is starting, and does not start another one', async () => {
    supervisor.ended(ended(1));
    await vi.advanceTimersByTimeAsync(100);
    expect(await supervisor.signalled(ended(1), true)).toBe(false);
    starts[0]!.resolve();
    await vi.advanceTimersByTimeAsync(0);
    supervisor.ended(ended(137));
    expect(supervisor.isRestarting('box')).toBe(false);
  });

  it('tries again when vSphere is unreachable, and gives up on what cannot start', async () => {
    supervisor.ended(ended(1));
    await vi.advanceTimersByTimeAsync(100);
    starts[0]!.reject(unavailable('connect ECONNREFUSED'));
    await vi.advanceTimersByTimeAsync(999);
    expect([supervisor.isRestarting('box'), starts.length]).toEqual([true, 1]);
    await vi.advanceTimersByTimeAsync(1);
    starts[1]!.reject(internal('no'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect([supervisor.isRestarting('box'), starts.length]).toEqual([false, 2]);
  });

  it('notices a run that ends before its start returns', async () => {
    supervisor.ended(ended(1));
    await vi.advanceTimersByTimeAsync(100);
    supervisor.started('box');
    supervisor.ended(ended(1));
    starts[0]!.resolve();
    await vi.advanceTimersByTimeAsync(0);
    expect(supervisor.isWaiting('box')).toBe(true);
    await vi.advanceTimersByTimeAsync(200);
    expect(starts).toHaveLength(2);
  });

  it('starts nothing once it is closed', async () => {
    supervisor.ended(ended(1));
    supervisor.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(starts).toHaveLength(0);
  });
});

describe('a container with a restart policy', () => {
  let engine: TestEngine;
  const call = (method: string, path: string, body?: unknown) => engine.call(method, path, body);
  const names: string[] = [];
  const runIt = async (name: string, script: string, RestartPolicy: object): Promise<void> => {
    names.push(name);
    const created = await call('POST', `/containers/create?name=${name}`, {
      Image: 'busybox',
      Cmd: ['sh', '-c', script],
      HostConfig: { RestartPolicy },
    });
    expect(created.status).toBe(201);
    expect((await call('POST', `/containers/${name}/start`)).status).toBe(204);
  };
  const inspect = async (name: string) => (await call('GET', `/containers/${name}/json`)).json;
  const actions = async (name: string): Promise<string[]> => {
    const filters = encodeURIComponent(JSON.stringify({ container: [name] }));
    const until = (Date.now() / 1000 + 0.01).toFixed(3);
    const { text } = await call('GET', `/events?since=1&until=${until}&filters=${filters}`);
    return text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
  };

  beforeAll(async () => {
    engine = await startTestEngine();
  });
  afterEach(async () => {
    vi.useRealTimers();
    for (const name of names.splice(0)) await call('DELETE', `/containers/${name}?force=1`);
  });
  afterAll(() => engine.close());

  it('is restarted until it has failed too often', async () => {
    await runIt('failing', 'exit 3', { Name: 'on-failure', MaximumRetryCount: 2 });
    const ended = { RestartCount: 2, State: { Status: 'exited', ExitCode: 3, Restarting: false } };
    const tried = ['start', 'die', 'start', 'die', 'start', 'die'];
    await expect.poll(() => inspect('failing')).toMatchObject(ended);
    expect(await actions('failing')).toEqual(['create', ...tried]);
    // A start by the user resets the count.
    expect((await call('POST', '/containers/failing/start')).status).toBe(204);
    await expect.poll(() => actions('failing')).toEqual(['create', ...tried, ...tried]);
    expect(await inspect('failing')).toMatchObject(ended);
  });

  it('counts as running, as in Docker, while it waits to be restarted', async () => {
    // It waits until the test lets the pause end.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await runIt('waiting', 'exit 4', { Name: 'always' });
    const pausing = (): Promise<void> =>
      expect.poll(async () => (await inspect('waiting')).State.Restarting).toBe(true);
    await pausing();
    const { id } = { id: (await inspect('waiting')).Id as string };
    expect((await inspect('waiting')).State).toMatchObject({
      Status: 'restarting',
      Running: true,
      Restarting: true,
      Pid: 0,
      ExitCode: 4,
    });
    const [row] = (await call('GET', '/containers/json?filters={"status":["restarting"]}')).json;
    expect(row).toMatchObject({ State: 'restarting', Status: expect.stringMatching(/^Restarting \(4\) .* ago$/) });
    expect((await call('POST', '/containers/waiting/start')).status).toBe(304);
    expect(await call('POST', '/containers/waiting/exec', { Cmd: ['true'] })).toMatchObject({
      status: 409,
      json: { message: `Container ${id} is restarting, wait until the container is running` },
    });
    expect(await call('DELETE', '/containers/waiting')).toMatchObject({
      status: 409,
      json: {
        message:
          'cannot remove container "waiting": container is restarting: stop the container before removing or force remove',
      },
    });
    // `next-exit`, as it is restarting.
    let next: unknown;
    void call('POST', '/containers/waiting/wait').then(({ json }) => {
      next = json;
    });
    const passed = (): unknown => {
      vi.advanceTimersByTime(1000);
      return next;
    };
    await expect.poll(passed).toEqual({ StatusCode: 4 });
    await pausing();
    const waiting = call('POST', '/containers/waiting/wait');
    expect((await call('POST', '/containers/waiting/stop')).status).toBe(204);
    expect((await waiting).json).toEqual({ StatusCode: 4 });
    expect((await inspect('waiting')).State).toMatchObject({ Status: 'exited', ExitCode: 4, Running: false });
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    expect((await actions('waiting')).slice(-2)).toEqual(['die', 'stop']);
    expect((await inspect('waiting')).State.Status).toBe('exited');
  });

  it.each(['stop?t=0', 'kill', 'kill?signal=USR1'])('is not restarted after %s', async (verb) => {
    await runIt('ended', 'trap "exit 5" USR1; while :; do sleep 0.05; done', { Name: 'always' });
    expect((await call('POST', `/containers/ended/${verb}`)).status).toBe(204);
    await expect.poll(async () => (await inspect('ended')).State.Status).toBe('exited');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await inspect('ended')).State.Status).toBe('exited');
    expect((await inspect('ended')).RestartCount).toBe(0);
  });

  it('applies a changed policy at its next exit', async () => {
    await runIt('changed', 'sleep 60', { Name: 'no' });
    const { Id: id } = await inspect('changed');
    await setRestartPolicy(engine.portLayer.exec, engine.engine.restarts, id, {
      Name: 'on-failure',
      MaximumRetryCount: 1,
    });
    await engine.portLayer.exec.kill('changed', 9);
    await expect.poll(async () => (await inspect('changed')).RestartCount).toBe(1);
    expect((await inspect('changed')).HostConfig.RestartPolicy).toEqual({ Name: 'on-failure', MaximumRetryCount: 1 });
  });

  it('is started with the engine, unless a user stopped it', async () => {
    await runIt('kept', 'while :; do sleep 0.05; done', { Name: 'unless-stopped' });
    await runIt('always', 'while :; do sleep 0.05; done', { Name: 'always' });
    await call('POST', '/containers/kept/stop?t=0');
    await call('POST', '/containers/always/stop?t=0');
    await engine.restart();
    await expect.poll(async () => (await inspect('always')).State.Status).toBe('running');
    expect((await inspect('kept')).State.Status).toBe('exited');
    await call('POST', '/containers/kept/start');
    await engine.engine.close();
    await engine.portLayer.exec.kill('kept', 9);
    await engine.restart();
    await expect.poll(async () => (await inspect('kept')).State.Status).toBe('running');
  });
});
