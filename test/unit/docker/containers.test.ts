import { createServer } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import type { Answer } from '../../support/docker-engine.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

const call = (method: string, path: string, body?: unknown): Promise<Answer> => engine.call(method, path, body);
const create = (name: string, body: object = {}): Promise<Answer> =>
  call('POST', `/containers/create?name=${name}`, { Image: 'busybox', ...body });
const start = (name: string): Promise<Answer> => call('POST', `/containers/${name}/start`);
async function run(name: string, script: string, body: object = {}): Promise<void> {
  await create(name, { Cmd: ['sh', '-c', script], ...body });
  expect((await start(name)).status).toBe(204);
}
const state = async (name: string) => (await call('GET', `/containers/${name}/json`)).json.State;

describe('create', () => {
  it('answers with the id, and the container is there', async () => {
    const { status, json } = await create('web', { Labels: { a: 'b' } });
    expect(status).toBe(201);
    expect(json).toEqual({ Id: expect.stringMatching(/^[0-9a-f]{64}$/), Warnings: [] });
    const { json: seen } = await call('GET', `/v1.51/containers/${json.Id.slice(0, 8)}/json`);
    expect(seen).toMatchObject({
      Id: json.Id,
      Name: '/web',
      Path: 'sh',
      Args: [],
      Driver: 'vmdk',
      Platform: 'linux',
      RestartCount: 0,
      State: { Status: 'created', Running: false, Pid: 0, ExitCode: 0, StartedAt: '0001-01-01T00:00:00Z' },
      Config: { Image: 'busybox', Cmd: ['sh'], Labels: { a: 'b' }, Hostname: json.Id.slice(0, 12) },
      HostConfig: {
        NetworkMode: 'bridge',
        PortBindings: {},
        RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
        ShmSize: 67108864,
      },
      Mounts: [],
      ExecIDs: null,
      NetworkSettings: { Ports: {}, IPAddress: '', Networks: { bridge: { IPAddress: '' } } },
    });
  });

  it('gives many containers created at once different names', async () => {
    const { exec } = engine.portLayer;
    const quick = exec.create.bind(exec);
    const slow = vi.spyOn(exec, 'create').mockImplementation(async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return quick(...args);
    });
    const created = await Promise.all(
      Array.from({ length: 300 }, () => engine.call('POST', '/containers/create', { Image: 'busybox' })),
    );
    slow.mockRestore();
    expect(new Set(created.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(exec.list().map(({ spec }) => spec.name)).size).toBe(300);
  });

  it('refuses with Docker’s messages', async () => {
    const { json: first } = await create('taken');
    expect(await create('taken')).toMatchObject({
      status: 409,
      json: {
        message: `Conflict. The container name "/taken" is already in use by container "${first.Id}". You have to remove (or rename) that container to be able to reuse that name.`,
      },
    });
    expect(await create('ok', { Image: 'nosuch' })).toMatchObject({
      status: 404,
      json: { message: 'No such image: nosuch:latest' },
    });
    expect(await create('!')).toMatchObject({
      status: 400,
      json: { message: 'Invalid container name (!), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed' },
    });
    expect(await call('POST', '/containers/create?platform=linux/arm64', { Image: 'busybox' })).toMatchObject({
      status: 404,
      json: {
        message:
          'image with reference busybox was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)',
      },
    });
    expect(await create('cpus', { HostConfig: { NanoCpus: 64e9 } })).toMatchObject({
      status: 400,
      json: { message: 'range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available' },
    });
    expect(engine.portLayer.exec.list()).toHaveLength(1);
  });
});

describe('the life of a container', () => {
  it('start, stop, start again, remove', async () => {
    await run('con', 'trap "exit 3" TERM; echo up; while :; do sleep 0.05; done');
    expect((await start('con')).status).toBe(304);
    const running = await state('con');
    expect(running).toMatchObject({
      Status: 'running',
      Running: true,
      ExitCode: 0,
      FinishedAt: '0001-01-01T00:00:00Z',
    });
    expect(running.Pid).toBeGreaterThan(0);
    expect(await call('DELETE', '/containers/con')).toMatchObject({
      status: 409,
      json: {
        message:
          'cannot remove container "con": container is running: stop the container before removing or force remove',
      },
    });
    await expect.poll(async () => (await call('GET', '/containers/con/logs?stdout=1')).text).toContain('up');
    expect((await call('POST', '/containers/con/stop')).status).toBe(204);
    expect((await call('POST', '/containers/con/stop')).status).toBe(304);
    expect(await state('con')).toMatchObject({ Status: 'exited', ExitCode: 3, Running: false, Pid: 0 });
    expect((await call('POST', '/containers/con/kill')).status).toBe(409);
    expect((await call('POST', '/containers/con/restart?t=1')).status).toBe(204);
    expect((await state('con')).Running).toBe(true);
    expect((await call('DELETE', '/containers/con?force=1')).status).toBe(204);
    expect(await call('GET', '/containers/con/json')).toMatchObject({
      status: 404,
      json: { message: 'No such container: con' },
    });
  });

  it('signals', async () => {
    await run('sig', 'trap "echo usr1" USR1; echo up; while :; do sleep 0.05; done');
    await expect.poll(async () => (await call('GET', '/containers/sig/logs?stdout=1')).text).toContain('up');
    expect((await call('POST', '/containers/sig/kill?signal=SIGUSR1')).status).toBe(204);
    await expect.poll(async () => (await call('GET', '/containers/sig/logs?stdout=1')).text).toContain('usr1');
    for (const [signal, why] of [
      ['FOO', 'invalid signal: FOO'],
      ['0', 'invalid signal: 0'],
      ['99', 'the linux daemon does not support signal 99'],
    ]) {
      expect(await call('POST', `/containers/sig/kill?signal=${signal}`)).toMatchObject({
        status: 400,
        json: { message: `cannot kill container: sig: ${why}` },
      });
    }
    expect((await call('POST', '/containers/sig/kill')).status).toBe(204);
    expect(await state('sig')).toMatchObject({ Status: 'exited', ExitCode: 137 });
  });

  it('wait sends its head at once, and the exit code at the end', async () => {
    await create('ww', { Cmd: ['sh', '-c', 'exit 5'] });
    const answer = await fetch(`http://127.0.0.1:${engine.port}/containers/ww/wait?condition=next-exit`, {
      method: 'POST',
    });
    expect(answer.status).toBe(200);
    await start('ww');
    expect(await answer.json()).toEqual({ StatusCode: 5 });
    expect((await call('POST', '/containers/ww/wait')).json).toEqual({ StatusCode: 5 });
    const removed = await fetch(`http://127.0.0.1:${engine.port}/containers/ww/wait?condition=removed`, {
      method: 'POST',
    });
    await call('DELETE', '/containers/ww');
    expect(await removed.json()).toEqual({ StatusCode: 5 });
    expect((await call('POST', '/containers/nosuch/wait')).status).toBe(404);
    await create('ww');
    expect((await call('POST', '/containers/ww/wait?condition=foo')).status).toBe(400);
  });

  it('a process that cannot be started', async () => {
    await create('bad', { Cmd: ['nosuch'] });
    const failed = await start('bad');
    expect(failed.status).toBe(400);
    expect(failed.json.message).toContain('exec: "nosuch": executable file not found in $PATH');
    expect(await state('bad')).toMatchObject({ Status: 'created', ExitCode: 127, Error: failed.json.message });
    expect((await call('POST', '/containers/bad/wait')).json).toEqual({
      Error: { Message: failed.json.message },
      StatusCode: 127,
    });
  });

  it('is renamed', async () => {
    await create('one');
    await create('two');
    expect((await call('POST', '/containers/one/rename?name=three')).status).toBe(204);
    expect((await call('GET', '/containers/three/json')).json.Name).toBe('/three');
    for (const [name, status, message] of [
      ['two', 409, 'Error when allocating new name: Conflict. The container name "/two" is already in use'],
      ['!', 400, 'Error when allocating new name: Invalid container name (/!)'],
      ['', 400, 'Neither old nor new names may be empty'],
      ['three', 400, 'Renaming a container with the same name as its current name'],
    ] as const) {
      const answer = await call('POST', `/containers/three/rename?name=${name}`);
      expect(answer.status).toBe(status);
      expect(answer.json.message).toContain(message);
    }
  });

  it.each([
    'GET json',
    'POST start',
    'POST stop',
    'POST restart',
    'POST kill',
    'POST rename?name=x',
    'POST exec',
    'GET logs?stdout=1',
    'POST resize?h=1&w=1',
  ])('of one that does not exist: %s', async (request) => {
    const [method = '', path = ''] = request.split(' ');
    const answer = await call(method, `/containers/nosuch/${path}`, path === 'exec' ? { Cmd: ['x'] } : undefined);
    expect(answer.status).toBe(404);
    expect(answer.json.message).toContain('No such container: nosuch');
  });

  it('is resized', async () => {
    await create('tt', { Tty: true, OpenStdin: true, Cmd: ['cat'] });
    expect((await call('POST', '/containers/tt/resize?h=5&w=6')).status).toBe(409);
    await start('tt');
    expect((await call('POST', '/containers/tt/resize?h=5&w=6')).status).toBe(200);
    expect(engine.portLayer.interaction.sizes.at(-1)).toMatchObject({ rows: 5, cols: 6 });
    expect(await call('POST', '/containers/tt/resize?w=6')).toMatchObject({
      status: 400,
      json: { message: 'invalid resize height "": invalid syntax' },
    });
  });
});

describe('the list', () => {
  const names = async (query: string): Promise<string[]> =>
    ((await call('GET', `/containers/json?${query}`)).json as { Names: string[] }[]).map(({ Names }) =>
      Names[0]!.slice(1),
    );
  const filtered = (filters: object, all = '1') =>
    names(`all=${all}&filters=${encodeURIComponent(JSON.stringify(filters))}`);

  it('is filtered', async () => {
    await create('made', { Labels: { role: 'db', x: '1' } });
    await run('up', 'sleep 60', { Labels: { role: 'web' }, ExposedPorts: { '80/tcp': {} } });
    await run('done', 'exit 4');
    await call('POST', '/containers/done/wait');
    const { json: rows } = await call('GET', '/containers/json');
    expect(rows).toMatchObject([
      {
        Names: ['/up'],
        Image: 'busybox',
        State: 'running',
        Command: "sh -c 'sleep 60'",
        Ports: [{ PrivatePort: 80, Type: 'tcp' }],
        HostConfig: { NetworkMode: 'bridge' },
        Mounts: [],
      },
    ]);
    expect(rows[0].Status).toMatch(/^Up /);
    expect(await names('all=1')).toEqual(['done', 'up', 'made']);
    expect(await names('limit=2')).toEqual(['done', 'up']);
    expect(await filtered({ status: ['exited'] }, '0')).toEqual(['done']);
    expect(await filtered({ status: { created: true, running: true } })).toEqual(['up', 'made']);
    expect(await filtered({ exited: ['4'] })).toEqual(['done']);
    expect(await filtered({ exited: ['0'] })).toEqual([]);
    expect(await filtered({ label: ['role'] })).toEqual(['up', 'made']);
    expect(await filtered({ label: ['role=db', 'x=1'] })).toEqual(['made']);
    expect(await filtered({ name: ['^u', 'ma'] })).toEqual(['up', 'made']);
    expect(await filtered({ name: ['^/up$'] })).toEqual(['up']);
    expect(await filtered({ ancestor: ['busybox'] })).toHaveLength(3);
    expect(await filtered({ ancestor: ['nosuch'] })).toEqual([]);
    expect(await filtered({ before: ['up'] })).toEqual(['made']);
    expect(await filtered({ since: ['up'] })).toEqual(['done']);
    expect(await filtered({ expose: ['80'] })).toEqual(['up']);
    expect(await filtered({ expose: ['70-90/tcp'] })).toEqual(['up']);
    expect(await filtered({ publish: ['80'] })).toEqual([]);
    expect(await filtered({ network: ['bridge'] })).toHaveLength(3);
    expect(await filtered({ network: ['nosuch'] })).toEqual([]);
    const { Id } = (await call('GET', '/containers/up/json')).json;
    expect(await filtered({ id: [Id.slice(0, 6)] })).toEqual(['up']);
  });

  it.each([
    [{ foo: ['x'] }, 400, "invalid filter 'foo'"],
    [{ ['__proto__']: ['x'] }, 400, 'invalid filter'],
    [
      { status: ['x'] },
      400,
      "invalid filter 'status=x': invalid value for state (x): must be one of created, running, paused, restarting, removing, exited, dead",
    ],
    [{ exited: ['x'] }, 400, 'invalid filter \'exited=x\': strconv.Atoi: parsing "x": invalid syntax'],
    [
      { health: ['x'] },
      400,
      "invalid filter 'health=x': invalid value for health (x): must be one of none, starting, healthy, unhealthy",
    ],
    [{ before: ['nosuch'] }, 404, 'No such container: nosuch'],
  ])('%j is refused', async (filters, status, message) => {
    expect(await call('GET', `/containers/json?filters=${JSON.stringify(filters)}`)).toMatchObject({
      status,
      json: { message },
    });
  });
});

describe('published ports', () => {
  /** A container whose process listens at `port` of the machine. */
  const listener = (port: number) => ({
    Cmd: [
      process.execPath,
      '-e',
      `require('net').createServer(s => s.end('hello')).listen(${port}, '127.0.0.1', () => console.log('up'))`,
    ],
  });
  const freePort = (): Promise<number> =>
    new Promise((resolve) => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const { port } = server.address() as { port: number };
        server.close(() => resolve(port));
      });
    });

  it('lead into the container while it runs', async () => {
    const inside = await freePort();
    await create('srv', {
      ...listener(inside),
      HostConfig: { PortBindings: { [`${inside}/tcp`]: [{ HostIp: '127.0.0.1', HostPort: '' }] } },
    });
    expect((await start('srv')).status).toBe(204);
    const { NetworkSettings, HostConfig } = (await call('GET', '/containers/srv/json')).json;
    const [{ HostIp, HostPort }] = NetworkSettings.Ports[`${inside}/tcp`];
    expect(HostConfig.PortBindings).toEqual({ [`${inside}/tcp`]: [{ HostIp: '127.0.0.1', HostPort: '' }] });
    expect(HostIp).toBe('127.0.0.1');
    const { json: rows } = await call('GET', `/containers/json?filters={"publish":["${HostPort}"]}`);
    expect(rows[0].Ports).toEqual([
      { IP: '127.0.0.1', PrivatePort: inside, PublicPort: Number(HostPort), Type: 'tcp' },
    ]);
    await expect.poll(async () => (await call('GET', '/containers/srv/logs?stdout=1')).text).toContain('up');
    const { connect } = await import('node:net');
    const text = await new Promise<string>((resolve) => {
      let all = '';
      connect(Number(HostPort), '127.0.0.1')
        .on('data', (data) => {
          all += data;
        })
        .on('close', () => resolve(all));
    });
    expect(text).toBe('hello');

    await create('second', { HostConfig: { PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort }] } } });
    const taken = await start('second');
    expect(taken.status).toBe(500);
    expect(taken.json.message).toMatch(
      new RegExp(
        `^failed to set up container networking: driver failed programming external connectivity on endpoint second.*: Bind for 127.0.0.1:${HostPort} failed: port is already allocated$`,
      ),
    );
    expect((await state('second')).Status).toBe('created');

    await call('POST', '/containers/srv/kill');
    await expect
      .poll(
        () =>
          new Promise((resolve) =>
            connect(Number(HostPort), '127.0.0.1')
              .on('connect', () => resolve('open'))
              .on('error', () => resolve('closed')),
          ),
      )
      .toBe('closed');
    expect((await call('GET', '/containers/srv/json')).json.NetworkSettings.Ports).toEqual({});
  });
});
