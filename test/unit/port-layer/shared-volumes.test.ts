/**
 * Containers that share a volume start, end and are killed in any order, while the host refuses things and the endpoint is killed: no two machines
 * ever have the disk, whoever runs has the volume, and afterwards everything is as if nothing had been shared.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { vchConfigSchema } from '../../../port-layer/config.js';
import { ContainerCache } from '../../../port-layer/exec/container-cache.js';
import { Containers } from '../../../port-layer/exec/containers.js';
import { ContainerChannel } from '../../../port-layer/interaction/container-channel.js';
import { Networks } from '../../../port-layer/network/networks.js';
import type { Layers } from '../../../port-layer/storage/layers.js';
import { VolumeUse } from '../../../port-layer/storage/volume-use.js';
import { randomOf } from '../../support/random.js';
import { containerSpec } from '../../support/specs.js';
import { VCH_CONFIG } from '../../support/vch-config.js';
import { type FakeVm, VolumeHost } from '../../support/volume-host.js';

const NAMES = ['a', 'b', 'c'];
const idOf = (name: string): string => name.repeat(64);

let channelDir: string;
let world: World;

beforeAll(() => {
  // A guest does at once what it is told, or its machine is gone.
  const moidOf = (channel: ContainerChannel): string => world.moidOf(channel);
  vi.spyOn(ContainerChannel.prototype, 'listen').mockResolvedValue(undefined);
  vi.spyOn(ContainerChannel.prototype, 'serveVolume').mockImplementation(async function (
    this: ContainerChannel,
    serving,
  ) {
    world.host.trouble('serve');
    world.host.serve(moidOf(this), serving);
  });
  vi.spyOn(ContainerChannel.prototype, 'unserveVolume').mockImplementation(async function (
    this: ContainerChannel,
    disk,
  ) {
    world.host.unserve(moidOf(this), disk);
  });
  vi.spyOn(ContainerChannel.prototype, 'forgetVolumeClient').mockResolvedValue(undefined);
  vi.spyOn(ContainerChannel.prototype, 'signal').mockImplementation(async function (this: ContainerChannel) {
    world.host.end(world.host.vms.get(moidOf(this))!, false);
  });
});

afterAll(() => vi.restoreAllMocks());

beforeEach(() => {
  channelDir = mkdtempSync(join(tmpdir(), 'caisson-shared-volumes-'));
  world = new World();
});

afterEach(async () => {
  await world.containers.close();
  rmSync(channelDir, { recursive: true, force: true });
});

class World {
  readonly host = new VolumeHost();
  containers!: Containers;
  cache!: ContainerCache;
  private kill: () => void = () => undefined;

  moidOf(channel: ContainerChannel): string {
    return this.cache.all().find((one) => one.channel === channel)?.vm.value ?? '';
  }

  vm(name: string): FakeVm {
    return this.host.vms.get(this.cache.get(idOf(name))!.vm.value)!;
  }

  server(): FakeVm | undefined {
    const found = this.cache.all().find(({ spec }) => spec.servesVolume !== undefined);
    return found && this.host.vms.get(found.vm.value);
  }

  /** An endpoint takes over. The one before it does nothing from now on. */
  async endpoint(): Promise<void> {
    this.kill();
    let dead = false;
    this.kill = () => {
      dead = true;
    };
    const config = vchConfigSchema.parse({
      ...VCH_CONFIG,
      channelDir,
      networks: [{ name: 'bridge', portGroup: 'front', subnet: '172.16.0.0/16' }],
    });
    this.cache = new ContainerCache();
    const { cache, host } = this;
    const layers = { use: () => () => undefined, diskOf: async () => '' } as unknown as Layers;
    const volumes = { keep: () => () => undefined, recover: async () => undefined, placed: <T>(mount: T): T => mount };
    const use = new VolumeUse(() => cache.all(), true);
    const isDead = (): boolean => dead;
    const client = host.client(isDead);
    const networks = new Networks(config, cache);
    this.containers = new Containers(client, config, cache, networks, layers, volumes, use, host.segments(isDead));
    host.watchedBy(this.containers);
    await this.containers.observer.opened();
    await this.containers.sharing.open(['v']);
  }

  async create(): Promise<void> {
    for (const name of NAMES)
      await this.containers.create(
        containerSpec(idOf(name), { volumes: [{ volume: 'v', path: '/v', readOnly: false }] }),
      );
  }

  /** What runs has the volume: by its disk, or by a server. */
  async eachHasTheVolume(): Promise<void> {
    const ok = (): boolean => {
      const on = [...this.host.vms.values()].filter((vm) => vm.on);
      const disks = on.filter(hasDisk);
      return on.length === 0 || (disks.length === 1 && (on.length === 1 || disks[0]!.serves.size === 1));
    };
    await expect.poll(ok, { timeout: 20_000, interval: 10 }).toBe(true);
  }

  async nothingIsLeft(): Promise<void> {
    const { host } = this;
    const left = (): object => ({ cards: host.cards(), segments: [...host.portGroups], machines: host.vms.size });
    await expect
      .poll(left, { timeout: 20_000, interval: 10 })
      .toEqual({ cards: [], segments: [], machines: NAMES.length });
    await expect.poll(() => [...host.vms.values()].filter(hasDisk).length, { timeout: 20_000 }).toBe(NAMES.length);
    expect(this.containers.sharing.settled('v')).toBeNull();
    expect(host.wrong).toEqual([]);
  }
}

const hasDisk = ({ devices }: FakeVm): boolean =>
  devices.some(({ backing, unitNumber }) => unitNumber === 1 && backing?.fileName !== undefined);

it('the second one is served by the first, then by a machine of its own until nobody needs it', async () => {
  await world.endpoint();
  await world.create();
  const { containers, host } = world;
  await containers.start(idOf('a'));
  expect([host.cards(), [...host.portGroups]]).toEqual([[], []]);
  await containers.start(idOf('b'));
  expect(world.vm('a').serves.size).toBe(1);
  expect([hasDisk(world.vm('a')), hasDisk(world.vm('b'))]).toEqual([true, false]);
  expect(containers.list().map(({ spec }) => spec.name[0])).toEqual(NAMES);
  host.end(world.vm('a'), true);
  await world.eachHasTheVolume();
  expect(world.server()?.on).toBe(true);
  expect(containers.list()).toHaveLength(3);
  expect(() => containers.resolve('volume:')).toThrow('volume:');
  await containers.start(idOf('a'));
  expect(hasDisk(world.vm('a'))).toBe(false);
  // The machine that serves it dies too, and then the endpoint.
  host.end(world.server()!, true);
  await world.eachHasTheVolume();
  await world.endpoint();
  await world.eachHasTheVolume();
  host.end(world.vm('a'), false);
  host.end(world.vm('b'), true);
  await world.nothingIsLeft();
  await world.containers.start(idOf('b'));
  expect(hasDisk(world.vm('b'))).toBe(true);
});

it('a start whose volume is not served fails with the reason, and leaves nothing', async () => {
  await world.endpoint();
  await world.create();
  await world.containers.start(idOf('a'));
  world.host.trouble = (what) => {
    if (what === 'serve') throw new Error('the guest has no server');
  };
  await expect(world.containers.start(idOf('b'))).rejects.toThrow(
    'volume "v" is in use by another container and cannot be shared with it: the guest has no server',
  );
  world.host.trouble = () => undefined;
  world.host.end(world.vm('a'), false);
  await world.nothingIsLeft();
});

it.each([1, 2, 3, 4, 72])(
  'whatever happens, in whatever order (%i)',
  async (seed) => {
    const random = randomOf(seed);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
    await world.endpoint();
    await world.create();
    const { host } = world;
    const starts: Promise<unknown>[] = [];
    for (let act = 0; act < 40; act++) {
      const name = pick(NAMES);
      const what = pick([
        'start',
        'start',
        'start',
        'end',
        'kill',
        'killServer',
        'endpoint',
        'trouble',
        'wait',
        'wait',
      ]);
      if (what === 'start') starts.push(world.containers.start(idOf(name)).catch(() => undefined));
      else if (what === 'end' || what === 'kill') host.end(world.vm(name), what === 'kill');
      else if (what === 'killServer') {
        const server = world.server();
        if (server !== undefined) host.end(server, true);
      } else if (what === 'endpoint') await world.endpoint();
      else if (what === 'trouble') {
        let left = random(6);
        host.trouble = () => {
          if (left-- === 0) throw new Error('the host says no');
        };
      } else await sleep(random(20));
      for (let turns = random(8); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      expect(host.wrong).toEqual([]);
    }
    host.trouble = () => undefined;
    await world.endpoint();
    await world.eachHasTheVolume();
    for (const name of NAMES) host.end(world.vm(name), random(2) === 0);
    await world.nothingIsLeft();
  },
  60_000,
);
