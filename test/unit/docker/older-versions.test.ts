/** Requests of older API versions, translated to the newest. */
import { describe, expect, it, vi } from 'vitest';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();
const create = async (version: string, body: object, query = ''): Promise<void> => {
  const { status, text } = await engine.call('POST', `/v${version}/containers/create?name=con${query}`, {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    ...body,
  });
  expect(status, text).toBe(201);
};
const inspect = async () => (await engine.call('GET', '/containers/con/json')).json;

describe('create', () => {
  it.each([
    ['1.24', { HostConfig: { AutoRemove: true } }, { AutoRemove: false }],
    ['1.25', { HostConfig: { AutoRemove: true } }, { AutoRemove: true }],
    ['1.39', {}, { IpcMode: 'shareable' }],
    ['1.39', { HostConfig: { IpcMode: 'none' } }, { IpcMode: 'none' }],
    ['1.40', {}, { IpcMode: 'private' }],
    ['1.39', { HostConfig: { PidsLimit: 20 } }, { PidsLimit: 20 }],
    [
      '1.25',
      { HostConfig: { RestartPolicy: { Name: 'always' } } },
      { RestartPolicy: { Name: 'always', MaximumRetryCount: 0 } },
    ],
    ['1.51', { HostConfig: { RestartPolicy: {} } }, { RestartPolicy: { Name: 'no', MaximumRetryCount: 0 } }],
    ['1.43', { HostConfig: { Annotations: { a: 'b' } } }, { Annotations: { a: 'b' } }],
  ])('%s %j', async (version, body, kept) => {
    await create(version, body);
    expect((await inspect()).HostConfig).toMatchObject(kept);
  });

  it('options of other kinds of mounts are ignored before 1.42', async () => {
    const mounts = [{ Type: 'tmpfs', Target: '/t' }];
    await create('1.41', { HostConfig: { Mounts: [{ ...mounts[0], VolumeOptions: {} }] } });
    expect((await inspect()).HostConfig.Mounts).toEqual(mounts);
  });

  it('annotations are ignored before 1.43, and not shown in lists before 1.46', async () => {
    const annotated = { HostConfig: { Annotations: { a: 'b' } } };
    await create('1.42', annotated);
    expect((await inspect()).HostConfig.Annotations).toBeUndefined();
    await engine.call('DELETE', '/containers/con');
    await create('1.43', annotated);
    const row = async (version: string) => (await engine.call('GET', `/v${version}/containers/json?all=1`)).json[0];
    expect((await row('1.45')).HostConfig).toEqual({ NetworkMode: 'bridge' });
    expect((await row('1.46')).HostConfig).toEqual({ NetworkMode: 'bridge', Annotations: { a: 'b' } });
  });

  it('a platform is ignored before 1.41', async () => {
    await create('1.40', {}, '&platform=linux/arm64');
    const refused = await engine.call('POST', '/v1.41/containers/create?platform=linux/arm64', { Image: 'busybox' });
    expect(refused.status).toBe(404);
  });
});

it('wait knows conditions from 1.30 on, stop a signal from 1.42 on', async () => {
  await create('1.51', {
    Cmd: ['sh', '-c', 'trap "exit 3" TERM; trap "exit 4" USR1; echo up; while :; do sleep 0.05; done'],
  });
  const ended = await engine.call('POST', '/v1.29/containers/con/wait?condition=bogus');
  expect([ended.status, ended.json.StatusCode]).toEqual([200, 0]);
  expect((await engine.call('POST', '/v1.30/containers/con/wait?condition=bogus')).status).toBe(400);
  const starts = async (times: number): Promise<void> => {
    await engine.call('POST', '/containers/con/start');
    const log = async () => (await engine.call('GET', '/containers/con/logs?stdout=1')).text;
    await expect.poll(log).toMatch(new RegExp(`(up[^]*){${times}}`));
  };
  await starts(1);
  expect((await engine.call('POST', '/v1.41/containers/con/stop?signal=USR1')).status).toBe(204);
  expect((await inspect()).State.ExitCode).toBe(3);
  await starts(2);
  expect((await engine.call('POST', '/v1.42/containers/con/stop?signal=USR1')).status).toBe(204);
  expect((await inspect()).State.ExitCode).toBe(4);
});

it('`Capabilities` existed in 1.40 only, and is refused there', async () => {
  const body = { Image: 'busybox', HostConfig: { Capabilities: ['CAP_CHOWN'] } };
  const answer = await engine.call('POST', '/v1.40/containers/create?name=con', body);
  expect(answer).toMatchObject({ status: 400, json: { message: expect.stringContaining('use CapAdd and CapDrop') } });
  await create('1.41', body);
  expect((await inspect()).HostConfig).not.toHaveProperty('Capabilities');
});

it('the size of an exec’s terminal is accepted from 1.42 on', async () => {
  await create('1.51', {});
  await engine.call('POST', '/containers/con/start');
  for (const [version, size] of [
    ['1.41', undefined],
    ['1.42', { rows: 11, cols: 22 }],
  ] as const) {
    const spy = vi.spyOn(engine.portLayer.interaction, 'execCreate');
    const made = await engine.call('POST', `/v${version}/containers/con/exec`, {
      Cmd: ['true'],
      Tty: true,
      ConsoleSize: [11, 22],
    });
    expect(made.status, made.text).toBe(201);
    expect(spy.mock.calls.at(-1)?.[1].terminalSize).toEqual(size);
    spy.mockRestore();
  }
});
