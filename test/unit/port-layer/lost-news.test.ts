/** Containers on a host that reports little, late or nothing: calls end, and a restarted endpoint shows the same. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { vchConfigSchema } from '../../../port-layer/config.js';
import { ContainerCache } from '../../../port-layer/exec/container-cache.js';
import { Containers } from '../../../port-layer/exec/containers.js';
import type { ContainerInfo } from '../../../port-layer/exec/types.js';
import { Networks } from '../../../port-layer/network/networks.js';
import type { Layers } from '../../../port-layer/storage/layers.js';
import { VolumeUse } from '../../../port-layer/storage/volume-use.js';
import { FakeVmHost } from '../../support/fake-vm-host.js';
import { containerSpec } from '../../support/specs.js';
import { VCH_CONFIG } from '../../support/vch-config.js';

const ID = 'a'.repeat(64);
const SPEC = containerSpec(ID, { name: 'box' });

let channelDir: string;
const open: Containers[] = [];

beforeEach(() => {
  channelDir = mkdtempSync(join(tmpdir(), 'caisson-lost-news-'));
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((containers) => containers.close()));
  rmSync(channelDir, { recursive: true, force: true });
});

/** An endpoint. One that is started later learns its state from the host. */
async function endpoint(host: FakeVmHost, found = false): Promise<Containers> {
  const config = vchConfigSchema.parse({
    ...VCH_CONFIG,
    channelDir,
    networks: [{ name: 'bridge', portGroup: 'front', subnet: '172.16.0.0/16' }],
  });
  const cache = new ContainerCache();
  const layers = { use: () => () => undefined, diskOf: async () => '' } as unknown as Layers;
  const volumes = { keep: () => () => undefined, recover: async () => undefined, placed: <T>(mount: T): T => mount };
  const use = new VolumeUse(() => cache.all());
  const containers = new Containers(host.client, config, cache, new Networks(config, cache), layers, volumes, use);
  open.push(containers);
  if (found) host.tell(containers);
  await containers.observer.opened();
  return containers;
}

/** A container that exists and was never started. */
async function created(host: FakeVmHost): Promise<Containers> {
  const containers = await endpoint(host);
  await containers.create(SPEC);
  return containers;
}

const told = ({ state, startedAt, finishedAt, exitCode, error, oomKilled }: ContainerInfo): object => ({
  state,
  startedAt: startedAt?.toISOString(),
  finishedAt: finishedAt?.toISOString(),
  exitCode,
  error,
  oomKilled,
});

const exits =
  (code: number) =>
  (host: FakeVmHost): void =>
    host.powerOff(`exited ${code} 0 0 ${Date.now()}000000`);

it('runs without any report are noticed to start and end, over and over', async () => {
  const host = new FakeVmHost();
  const containers = await created(host);
  for (const code of [3, 0, 5]) {
    host.whenOn = exits(code);
    await containers.start(ID);
    expect(await containers.wait(ID, 'not-running')).toMatchObject({ exitCode: code });
  }
});

it('a start whose process could not be started fails, even without a report', async () => {
  const host = new FakeVmHost((vm) => vm.powerOff('failed 127 exec: "x": not found'));
  const containers = await created(host);
  await expect(containers.start(ID)).rejects.toThrow('exec: "x": not found');
  expect(containers.resolve(ID)).toMatchObject({ state: 'created', exitCode: 127 });
});

it('a start makes no more calls than necessary', async () => {
  const host = new FakeVmHost((vm) => {
    setImmediate(() => {
      vm.tell(containers);
      exits(0)(vm);
      vm.tell(containers);
    });
  });
  const containers = await created(host);
  host.calls.length = 0;
  await containers.start(ID);
  expect(host.calls).toEqual(['ReconfigVM_Task', 'PowerOnVM_Task']);
});

it('late news of a finished run does not revive it', async () => {
  const host = new FakeVmHost(exits(0));
  const containers = await created(host);
  await containers.start(ID);
  const events: string[] = [];
  containers.events.on('event', ({ type }) => events.push(type));
  host.powerOn();
  host.tell(containers);
  host.powerOff('exited 0 0 0 1700000000000000000');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(containers.resolve(ID).state).toBe('exited');
  expect(events).toEqual([]);
});

it('a VM that an administrator powers on counts as running until it is off', async () => {
  const host = new FakeVmHost(exits(0));
  const containers = await created(host);
  await containers.start(ID);
  const next = containers.wait(ID, 'next-exit');
  host.powerOn(`started ${Date.now()}000000 4`);
  host.calls.length = 0;
  host.tell(containers);
  await expect.poll(() => containers.resolve(ID).state).toBe('running');
  // Another endpoint knows of the run what this one has recorded.
  await expect.poll(() => host.calls).toContain('ReconfigVM_Task');
  const before = containers.resolve(ID).startedAt;
  const later = await endpoint(host, true);
  expect(later.resolve(ID)).toMatchObject({ state: 'running', startedAt: before });
  host.powerOff('exited 9 0 0 1700000000000000000');
  host.tell(containers);
  expect(await next).toMatchObject({ exitCode: 9 });
});

it('the record of a killed run does not overwrite that of the next', async () => {
  let release = (): void => undefined;
  const host = new FakeVmHost((vm) => {
    release = vm.holdNext();
    vm.powerOff('started 1700000000000000000 4');
  });
  const containers = await created(host);
  await containers.start(ID);
  expect(containers.resolve(ID)).toMatchObject({ state: 'exited', exitCode: 137 });
  host.whenOn = exits(0);
  const second = containers.start(ID);
  setTimeout(release, 50);
  await second;
  await containers.wait(ID, 'not-running');
  const { startedAt } = containers.resolve(ID);
  expect((await endpoint(host, true)).resolve(ID)).toMatchObject({ startedAt, exitCode: 0 });
});

it('a failed start looks the same after a restart of the endpoint', async () => {
  const host = new FakeVmHost(exits(3));
  const containers = await created(host);
  const fails = async (): Promise<void> => {
    await expect(containers.start(ID, () => Promise.reject(new Error('no room')))).rejects.toThrow('no room');
    await expect.poll(() => host.calls.at(-1)).toBe('ReconfigVM_Task');
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { state, exitCode } = containers.resolve(ID);
    expect([state, exitCode]).toEqual([host.calls.includes('PowerOnVM_Task') ? 'exited' : 'created', 128]);
    expect(told((await endpoint(host, true)).resolve(ID))).toEqual(told(containers.resolve(ID)));
  };
  await fails();
  await containers.start(ID);
  await fails();
});

it('a restarted endpoint shows the same as before', async () => {
  const host = new FakeVmHost((vm) => {
    vm.powerOn(`started ${Date.now()}000000 4`);
    setImmediate(() => vm.tell(containers));
  });
  const containers = await created(host);
  void containers.start(ID).catch(() => undefined);
  await expect.poll(() => host.calls.at(-1)).toBe('PowerOnVM_Task');
  // As the channel reports it.
  const { cache } = containers;
  cache.resolve(ID).dispatch({ type: 'started', pid: 4 });
  const running = told(containers.resolve(ID));
  expect(told((await endpoint(host, true)).resolve(ID))).toEqual(running);
  host.powerOff('exited 3 0 1 1700000000000000000');
  await expect.poll(() => cache.resolve(ID).poweredOn).toBe(true);
  host.tell(containers);
  const ended = told(containers.resolve(ID));
  expect(ended).toMatchObject({ state: 'exited', exitCode: 3, oomKilled: true });
  expect(told((await endpoint(host, true)).resolve(ID))).toEqual(ended);
});
