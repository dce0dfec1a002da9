import { describe, expect, it } from 'vitest';
import type { Answer } from '../../support/docker-engine.js';
import { USAGE } from '../../support/fake-observe.js';
import { sharedEngine } from '../../support/shared-engine.js';

const MIB = 2 ** 20;

const engine = sharedEngine();

const call = (method: string, path: string, body?: unknown): Promise<Answer> => engine.call(method, path, body);

async function create(name: string, HostConfig: object = {}): Promise<string> {
  const body = { Image: 'busybox', Cmd: ['sleep', '100'], HostConfig };
  return (await call('POST', `/containers/create?name=${name}`, body)).json.Id;
}

async function run(name: string, HostConfig: object = {}): Promise<string> {
  const id = await create(name, HostConfig);
  expect((await call('POST', `/containers/${name}/start`)).status).toBe(204);
  return id;
}

/** Docker Engine's answers to the same requests. */
const refused = (status: number, message: string): object => ({ status, json: { message } });

async function actions(id: string): Promise<string[]> {
  const { text } = await call(
    'GET',
    `/events?since=0&until=${Math.ceil(Date.now() / 1000)}&filters=${encodeURIComponent(JSON.stringify({ container: [id] }))}`,
  );
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { Type: string; Action: string })
    .filter(({ Type }) => Type === 'container')
    .map(({ Action }) => Action);
}

describe('a paused container', () => {
  it('is shown as paused, and continues when unpaused', async () => {
    const id = await run('one');
    expect((await call('POST', '/containers/one/pause')).status).toBe(204);
    expect(await call('POST', '/containers/one/pause')).toMatchObject(
      refused(409, `Container ${id} is already paused`),
    );
    const { json } = await call('GET', '/containers/one/json');
    expect(json.State).toMatchObject({ Status: 'paused', Running: true, Paused: true });
    const { json: rows } = await call('GET', '/containers/json?filters={"status":["paused"]}');
    expect(rows).toMatchObject([{ Id: id, State: 'paused', Status: expect.stringMatching(/^Up .* \(Paused\)$/) }]);
    expect((await call('GET', '/containers/json?filters={"status":["running"]}')).json).toEqual([]);
    expect((await call('GET', '/info')).json).toMatchObject({ ContainersRunning: 0, ContainersPaused: 1 });
    expect((await call('POST', '/containers/one/unpause')).status).toBe(204);
    expect(await call('POST', '/containers/one/unpause')).toMatchObject(refused(500, `Container ${id} is not paused`));
    expect((await call('GET', '/containers/one/json')).json.State).toMatchObject({ Status: 'running', Paused: false });
    expect(await actions(id)).toEqual(['create', 'start', 'pause', 'unpause']);
  });

  it('refuses what it cannot do while paused, with Docker’s messages', async () => {
    const id = await run('one');
    const { json: exec } = await call('POST', '/containers/one/exec', { Cmd: ['true'] });
    await call('POST', '/containers/one/pause');
    expect(await call('POST', '/containers/one/start')).toMatchObject(
      refused(409, 'cannot start a paused container, try unpause instead'),
    );
    expect(await call('POST', '/containers/one/exec', { Cmd: ['true'] })).toMatchObject(
      refused(409, 'Container one is paused, unpause the container before exec'),
    );
    expect(await call('POST', `/exec/${exec.Id}/start`, {})).toMatchObject(
      refused(409, `Container ${id} is paused, unpause the container before exec`),
    );
    expect(await call('DELETE', '/containers/one')).toMatchObject(
      refused(409, 'cannot remove container "one": container is paused and must be unpaused first'),
    );
    const attach = await call('POST', '/containers/one/attach?stream=1&stdout=1');
    expect(attach.status).toBe(409);
    expect(attach.text).toContain('container one is paused, unpause the container before attach');
    await create('two');
    expect((await call('POST', '/containers/two/pause')).json.message).toMatch(/^container \w{64} is not running$/);
  });

  it('is not probed, even after a restart of the engine', async () => {
    const body = { Image: 'busybox', Cmd: ['sleep', '100'], Healthcheck: { Test: ['CMD', 'true'], Interval: 5e7 } };
    const { json } = await call('POST', '/containers/create?name=one', body);
    const health = async (): Promise<string> => (await call('GET', '/containers/one/json')).json.State.Health.Status;
    await call('POST', '/containers/one/start');
    await expect.poll(health).toBe('healthy');
    await call('POST', '/containers/one/pause');
    await engine.restart();
    await expect.poll(health).toMatch(/^(starting|unhealthy)$/);
    const probes = (await actions(json.Id)).length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await actions(json.Id)).length).toBe(probes);
    await call('POST', '/containers/one/unpause');
    await expect.poll(health).toBe('healthy');
  });

  it.each([
    ['POST', '/containers/one/kill', ['pause', 'kill', 'unpause', 'die']],
    ['POST', '/containers/one/kill?signal=USR1', ['pause', 'kill', 'unpause', 'die']],
    ['POST', '/containers/one/stop?t=5', ['pause', 'kill', 'unpause', 'die', 'stop']],
    ['DELETE', '/containers/one?force=1', ['pause', 'kill', 'unpause', 'die', 'destroy']],
  ])('%s %s: it is resumed so that it can end', async (method, path, expected) => {
    const id = await run('one');
    await call('POST', '/containers/one/pause');
    const waited = call('POST', '/containers/one/wait');
    expect((await call(method, path)).status).toBe(204);
    await waited;
    expect((await actions(id)).slice(2)).toEqual(expected);
  });
});

describe('update', () => {
  const update = (name: string, body: unknown): Promise<Answer> => call('POST', `/containers/${name}/update`, body);

  it('changes limits at once, and the VM’s size at the next start', async () => {
    const id = await run('one', { Memory: 64 * MIB, NanoCpus: 5e8 });
    expect(
      await update('one', { Memory: 128 * MIB, MemorySwap: 256 * MIB, NanoCpus: 2e9, PidsLimit: 50 }),
    ).toMatchObject({
      status: 200,
      json: {
        Warnings: [
          'The virtual machine has 128 MiB of memory until the container is started again, which then has 192 MiB.',
          'The virtual machine has 1 CPU until the container is started again, which then has 2.',
        ],
      },
    });
    expect(engine.portLayer.exec.resolve(id).spec).toMatchObject({
      cpus: 2,
      memoryMiB: 192,
      limits: {
        'memory.max': String(128 * MIB),
        'memory.low': '0',
        'cpu.max': '200000 100000',
        'cpu.weight': '100',
        'pids.max': '50',
      },
    });
    const { json } = await call('GET', '/containers/one/json');
    expect(json.HostConfig).toMatchObject({ Memory: 128 * MIB, MemorySwap: 256 * MIB, NanoCpus: 2e9, PidsLimit: 50 });
    // The request repeats none of that, so there is no warning about it.
    expect((await update('one', { CpuShares: 512 })).json).toEqual({ Warnings: null });
    expect((await update('one', {})).json).toEqual({ Warnings: null });
    expect((await actions(id)).slice(2)).toEqual(['update', 'update', 'update']);
  });

  it('changes the restart policy', async () => {
    await create('one');
    const policy = { Name: 'on-failure', MaximumRetryCount: 3 };
    expect((await update('one', { RestartPolicy: policy })).json).toEqual({ Warnings: null });
    expect((await call('GET', '/containers/one/json')).json.HostConfig.RestartPolicy).toEqual(policy);
  });

  it.each<[object, number, string]>([
    [{ Memory: 1000 }, 400, 'Minimum memory limit allowed is 6MB'],
    [
      { Memory: 2 ** 30 },
      409,
      'Cannot update container ID: Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time',
    ],
    [
      { CpuPeriod: 100_000, CpuQuota: 50_000 },
      409,
      'Cannot update container ID: Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set',
    ],
    [
      { CpuQuota: 50_000 },
      409,
      'Cannot update container ID: Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set',
    ],
    [{ NanoCpus: 99e9 }, 400, 'range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available'],
    [
      { RestartPolicy: { Name: 'always' } },
      409,
      'Cannot update container ID: Restart policy cannot be updated because AutoRemove is enabled for the container',
    ],
    [
      { RestartPolicy: { Name: 'bogus' } },
      400,
      "invalid restart policy: unknown policy 'bogus'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ],
    [{ CpusetCpus: '99' }, 400, 'Requested CPUs are not available - requested 99, available: 0-1'],
    [{ CpuRealtimeRuntime: 5 }, 501, 'CpuRealtimeRuntime is not implemented'],
  ])('%j is answered with %i and changes nothing', async (body, status, message) => {
    const id = await run('one', { Memory: 64 * MIB, NanoCpus: 5e8, AutoRemove: true });
    const before = engine.portLayer.exec.resolve(id).spec;
    expect(await update('one', body)).toMatchObject(refused(status, message.replace('ID', id)));
    expect(engine.portLayer.exec.resolve(id).spec).toEqual(before);
  });

  it('a limit below the current use is refused; page cache does not count', async () => {
    await run('one', { Memory: 64 * MIB });
    engine.portLayer.observe.usage = {
      ...USAGE,
      'memory.current': String(30 * MIB),
      'memory.stat': `file ${5 * MIB}\nshmem ${MIB}\n`,
    };
    expect((await update('one', { Memory: 20 * MIB })).json.message).toMatch(
      /^Cannot update container \w{64}: unable to set memory limit to 20971520 \(current usage: 27262976\)/,
    );
    expect((await update('one', { Memory: 26 * MIB })).status).toBe(200);
  });

  it('a container that does not exist', async () => {
    expect(await update('none', {})).toMatchObject(refused(404, 'No such container: none'));
  });
});
