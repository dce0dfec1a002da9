/**
 * Networks are made and removed, containers started, stopped, connected and disconnected, in any order, while changes fail, guests refuse, and
 * the endpoint is killed between any two steps: addresses, cards, port groups and what is kept agree afterwards.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { vchConfigSchema } from '../../../port-layer/config.js';
import { readCards } from '../../../port-layer/exec/cards.js';
import { Container } from '../../../port-layer/exec/container.js';
import { ContainerCache } from '../../../port-layer/exec/container-cache.js';
import type { ContainerSpec } from '../../../port-layer/exec/container-spec.js';
import { change } from '../../../port-layer/exec/handle.js';
import { keptSpec, readSpec } from '../../../port-layer/exec/kept-spec.js';
import { Machine } from '../../../port-layer/exec/machine.js';
import { Memberships } from '../../../port-layer/exec/memberships.js';
import { foundRest, foundRun, newRecord, parseRunRecord, RUN_KEY } from '../../../port-layer/exec/run-record.js';
import { StartGate } from '../../../port-layer/exec/start-gate.js';
import { ADDRESSES_KEY, addressesValue, SPEC_KEY } from '../../../port-layer/exec/vm-spec.js';
import { EndpointVm } from '../../../port-layer/network/endpoint-vm.js';
import { cardsFor, isThere } from '../../../port-layer/network/endpoints.js';
import { Networks } from '../../../port-layer/network/networks.js';
import type { VimClient } from '../../../src/vim25/index.js';
import { type HostVm, NetworkHost, POOL } from '../../support/network-host.js';
import { VCH_CONFIG } from '../../support/vch-config.js';

const CONFIG = vchConfigSchema.parse({
  ...VCH_CONFIG,
  channelDir: '/run/x',
  resourcePool: POOL,
  networks: [{ name: 'bridge', portGroup: 'front', subnet: '172.16.0.0/16' }],
});
const NETWORKS = ['bridge', 'one', 'two', 'three'];
const CONTAINERS = ['x', 'y', 'z'];
const idOf = (name: string): string => name.charCodeAt(0).toString(16).padStart(64, '0');

type Trouble = 'none' | 'die' | 'fail' | 'lose' | 'guest';
/** What is done, to which container and network, and what goes wrong at which change of the host, or message to the guest. */
type Act = [what: keyof World['acts'], container: number, network: number, trouble: Trouble, at: number];

class World {
  /** A guest sets up what is in its program. */
  private readonly host = new NetworkHost((moid, { keys }) =>
    this.guests.set(moid, new Set(parseRunRecord(keys.get(RUN_KEY))?.endpoints.map(({ mac }) => mac))),
  );
  /** MAC addresses that each guest has set up. */
  private readonly guests = new Map<string, Set<string>>();
  /** Which networks each container is on. */
  private readonly model = new Map<string, Set<string>>();
  /** The address that each container has had on a network since it came there. */
  private readonly had = new Map<string, string>();
  /** Containers whose start was tried: no others have addresses. */
  private readonly begun = new Set<string>();
  private trouble: { how: Trouble; left: number } = { how: 'none', left: 0 };
  private client!: VimClient;
  private cache!: ContainerCache;
  private networks!: Networks;

  constructor() {
    this.host.portGroups.add('front');
    this.host.addVm(CONFIG.name, { 'caisson.appliance': 'endpoint', 'caisson.vch': CONFIG.id }, ['front']);
  }

  /** An endpoint starts, and finds what there is. */
  async open(): Promise<void> {
    this.trouble = { how: 'none', left: 0 };
    this.client = this.host.client(() => this.next() as 'do');
    this.cache = new ContainerCache();
    this.networks = new Networks(CONFIG, this.cache, { store: new EndpointVm(this.client, CONFIG), routes: () => [] });
    const members = this.connectMembers();
    await this.networks.load();
    for (const [moid, vm] of this.host.vms) {
      const spec = readSpec(vm.keys.get(SPEC_KEY));
      if (spec === null) continue;
      const record = parseRunRecord(vm.keys.get(RUN_KEY));
      const container = this.track(moid, spec, foundRest(record, { kind: 'none' }, vm.on));
      this.networks.places.recall(spec, record?.endpoints ?? []);
      if (!vm.on) continue;
      const seen = { record, status: { kind: 'none' } as const, suspended: false };
      const { run } = foundRun(container.facts, seen, new Date());
      this.networks.places.claim(spec, run.endpoints);
      container.dispatch({ type: 'found', run });
      await members.resume(container, this.guests.get(moid)!);
    }
  }

  async act([what, container, network, how, at]: Act): Promise<void> {
    const name = CONTAINERS[container]!;
    const before = new Set(this.model.get(name));
    this.trouble = { how, left: at };
    try {
      await this.acts[what](name, NETWORKS[network]!);
    } catch {
      // Refused, failed, or killed.
      if (before.size > 0 || this.model.has(name)) this.model.set(name, before);
    }
    const happened = this.trouble.left < 0;
    this.trouble = { how: 'none', left: 0 };
    // Where it cannot know whether a change was made, only a new start tells.
    const anew = happened && (how === 'die' || how === 'lose');
    if (anew) {
      await this.open();
      if (what === 'connect' || what === 'disconnect') this.learn(name, before, NETWORKS[network]!);
    }
    this.check(anew);
  }

  /** One of the two: what it was killed at was done, or was not. */
  private learn(name: string, before: Set<string>, network: string): void {
    const found = this.cache.all().find(({ spec }) => spec.name === name);
    if (found === undefined) return;
    const now = new Set(found.spec.networks.map((wish) => wish.network));
    const other = new Set(before);
    if (!other.delete(network)) other.add(network);
    expect([[...before].sort(), [...other].sort()]).toContainEqual([...now].sort());
    this.model.set(name, now);
  }

  readonly acts = {
    make: async (_: string, network: string): Promise<void> => {
      const asked = { pools: [], ipv4: true, ipv6: network === 'two', internal: false, attachable: false };
      await this.networks.create({ name: network, ...asked, labels: {}, options: {}, ipamOptions: null });
    },
    unmake: (_: string, network: string) => this.networks.remove(network),
    create: async (name: string, network: string): Promise<void> => {
      if (this.cache.get(idOf(name)) !== undefined) return;
      const wanted = {
        ...{ version: 1, id: idOf(name), name, hostname: name, domainname: '', dns: null, extraHosts: [], files: [] },
        networks: [{ network, aliases: [] }],
      } as unknown as ContainerSpec;
      const spec = this.networks.places.settle(wanted);
      const portGroups = spec.networks.map((wish) => this.networks.places.attachmentOf(wish).portGroup);
      const { value } = this.host.addVm(name, { [SPEC_KEY]: keptSpec(spec) }, portGroups);
      this.track(value, spec);
      this.model.set(name, new Set([network]));
    },
    destroy: async (name: string): Promise<void> => {
      const container = this.cache.resolve(name);
      if (container.running) return;
      this.host.vms.delete(container.vm.value);
      this.cache.delete(container.id);
      this.networks.places.release(container.id);
      this.model.delete(name);
      this.begun.delete(name);
    },
    start: async (name: string): Promise<void> => {
      const container = this.cache.resolve(name);
      this.begun.add(name);
      if (!container.running) await this.start(container);
    },
    stop: async (name: string): Promise<void> => {
      const container = this.cache.resolve(name);
      if (!container.running) return;
      this.vmOf(container).on = false;
      this.guests.delete(container.vm.value);
      container.dispatch({ type: 'off', status: { kind: 'none' }, at: new Date() });
    },
    connect: async (name: string, network: string): Promise<void> => {
      await this.networks.connect(name, network, { aliases: [] });
      this.model.get(name)!.add(network);
    },
    disconnect: async (name: string, network: string): Promise<void> => {
      await this.networks.disconnect(name, network);
      this.model.get(name)!.delete(network);
    },
    restart: () => this.open(),
  };

  /** As the exec component starts one, as far as networks go. */
  private async start(container: Container): Promise<void> {
    const { places } = this.networks;
    container.dispatch({ type: 'start' });
    try {
      const spec = { ...container.spec, networks: places.identified(container.spec.networks) };
      const wanted = spec.networks.map((wish) => ({ ...places.attachmentOf(wish), mac: wish.mac }));
      const cards = cardsFor(wanted, await readCards(this.client, container.machine));
      const endpoints = places.bind(
        spec,
        cards.map((card) => card!.mac),
      );
      const startedAt = new Date();
      container.dispatch({ type: 'power', startedAt, endpoints });
      container.spec = spec;
      await change(this.client, container.vm, null, (handle) => {
        handle.key(SPEC_KEY, keptSpec(spec)).key(ADDRESSES_KEY, addressesValue(endpoints));
        for (const [at, card] of cards.entries()) if (!isThere(card!, wanted[at]!)) handle.moveCard(card!, wanted[at]!);
        handle
          .key(RUN_KEY, JSON.stringify(newRecord(startedAt, endpoints, { kind: 'created', failure: null })))
          .powerOn();
      });
      container.dispatch({ type: 'started', pid: 1 });
    } catch (error) {
      container.dispatch({ type: 'abort', reason: error as Error, exitCode: 128 });
      container.dispatch({ type: 'offOrLeft' });
      throw error;
    }
  }

  // --- what holds at any time ----------------------------------------------------------------------------------------

  /** @param anew an endpoint has just started: then nothing is left over either */
  check(anew: boolean): void {
    const own = this.networks.list();
    for (const container of this.cache.all()) this.checkContainer(container);
    const endpoint = [...this.host.vms.values()][0]!;
    const wanted = own.map(({ portGroup }) => portGroup).sort();
    const there = endpoint.cards.map(({ portGroup }) => portGroup).sort();
    if (anew) expect(there).toEqual(wanted);
    if (anew) expect([...this.host.portGroups].sort()).toEqual(wanted);
    for (const { name, portGroup, interface: card } of own) {
      expect(this.host.portGroups, name).toContain(portGroup);
      expect(there.filter((one) => one === portGroup)).toHaveLength(1);
      expect(endpoint.cards.find(({ key }) => card === `eth${key - 4000}`)?.portGroup).toBe(portGroup);
      this.checkAddresses(name);
    }
  }

  /** Everything can be taken away, and then nothing is left. */
  async end(): Promise<void> {
    for (const { spec } of this.cache.all()) await this.acts.stop(spec.name);
    for (const { name, predefined } of this.networks.list()) if (!predefined) await this.networks.remove(name);
    for (const { spec } of this.cache.all()) await this.acts.destroy(spec.name);
    expect(this.networks.usage('bridge').map(({ used }) => used)).toEqual([3n]);
    // A port group that could not be removed goes when an endpoint starts.
    await this.open();
    expect([...this.host.portGroups]).toEqual(['front']);
  }

  private checkContainer(container: Container): void {
    const { spec, endpoints, running, vm: ref } = container;
    const vm = this.vmOf(container);
    const on = (list: readonly { network: string }[]): string[] => list.map(({ network }) => network).sort();
    expect(on(spec.networks)).toEqual([...this.model.get(spec.name)!].sort());
    expect(on(readSpec(vm.keys.get(SPEC_KEY))!.networks)).toEqual(on(spec.networks));
    expect(vm.cards).toHaveLength(spec.networks.length);
    expect(running).toBe(vm.on);
    for (const key of this.had.keys())
      if (key.startsWith(spec.name) && !spec.networks.some(({ networkId = 'bridge' }) => key.endsWith(networkId)))
        this.had.delete(key);
    if (!running) return;
    expect(on(endpoints)).toEqual(on(spec.networks));
    const macs = endpoints.map(({ mac }) => mac).sort();
    expect(vm.cards.map(({ mac }) => mac).sort()).toEqual(macs);
    expect([...this.guests.get(ref.value)!].sort()).toEqual(macs);
    expect(parseRunRecord(vm.keys.get(RUN_KEY))?.endpoints).toEqual(endpoints);
    expect(vm.keys.get(ADDRESSES_KEY)).toBe(addressesValue(endpoints));
    for (const { mac, network, networkId, address } of endpoints) {
      const key = `${spec.name} ${network === 'bridge' ? network : networkId}`;
      expect(address).toBe(this.had.get(key) ?? address);
      this.had.set(key, address);
      expect(vm.cards.find((card) => card.mac === mac)?.portGroup).toBe(this.networks.resolve(networkId).portGroup);
    }
  }

  private checkAddresses(network: string): void {
    const { id, pools } = this.networks.resolve(network);
    const running = this.cache.all().filter((container) => container.running);
    const places = running.flatMap(({ endpoints }) => endpoints.filter(({ networkId }) => networkId === id));
    for (const family of ['address', 'address6'] as const) {
      const given = places.map((place) => place[family]).filter((one) => one !== '');
      expect(new Set(given).size).toBe(given.length);
    }
    const members = this.cache
      .all()
      .filter(({ spec }) => this.begun.has(spec.name) && spec.networks.some((wish) => wish.network === network));
    for (const [at, { used }] of this.networks.usage(id).entries()) {
      // The gateway's, and the first and the last one of IPv4.
      const nobodys = pools[at]!.subnet.includes(':') ? 2 : 3;
      expect(Number(used) - nobodys).toBeGreaterThanOrEqual(places.length);
      expect(Number(used) - nobodys).toBeLessThanOrEqual(members.length);
    }
  }

  // --- around it -----------------------------------------------------------------------------------------------------

  private next(): Trouble | 'do' {
    const { how } = this.trouble;
    if (how === 'none' || how === 'guest' || this.trouble.left < 0 || this.trouble.left-- > 0) return 'do';
    return how;
  }

  private vmOf({ vm }: Container): HostVm {
    return this.host.vms.get(vm.value)!;
  }

  private connectMembers(): Memberships {
    const { client, cache, networks } = this;
    const members = new Memberships({ client, cache, networks, config: CONFIG, gate: new StartGate() } as never);
    networks.members = members;
    return members;
  }

  private track(moid: string, spec: ContainerSpec, rest?: ConstructorParameters<typeof Container>[2]): Container {
    const { networks } = this;
    const machine = new Machine({ type: 'VirtualMachine', value: moid }, moid);
    Object.defineProperty(machine, 'channel', { get: () => this.channelTo(moid) });
    const container = new Container(spec, machine, rest, ({ id }, effect) => {
      if (effect.do === 'letGo') networks.places.rest(id);
    });
    this.cache.add(container);
    return container;
  }

  /** A guest that does what it is told, unless it is to refuse. */
  private channelTo(moid: string): object {
    const told = async (body: () => void = () => undefined): Promise<void> => {
      await Promise.resolve();
      const { trouble } = this;
      if (trouble.how === 'guest' && trouble.left >= 0 && trouble.left-- === 0) throw new Error('the guest refuses');
      body();
    };
    const guest = (): Set<string> => this.guests.get(moid)!;
    return {
      addNic: ({ mac }: { mac: string }) =>
        told(() => {
          expect(this.host.vms.get(moid)!.cards.map((card) => card.mac)).toContain(mac);
          guest().add(mac);
        }),
      removeNic: (mac: string) => told(() => guest().delete(mac)),
      routes: () => told(),
      rewrite: () => told(),
      nameServers: () => told(),
    };
  }
}

const acts = fc.array(
  fc.tuple(
    fc.constantFrom<Act[0]>(
      ...(['make', 'make', 'unmake', 'create', 'create', 'destroy', 'start', 'start', 'stop'] as const),
      ...(['connect', 'connect', 'connect', 'disconnect', 'disconnect', 'restart'] as const),
    ),
    fc.nat(CONTAINERS.length - 1),
    fc.nat(NETWORKS.length - 1),
    fc.constantFrom<Trouble>('none', 'none', 'none', 'die', 'die', 'fail', 'lose', 'guest'),
    fc.nat(3),
  ) as fc.Arbitrary<Act>,
  { maxLength: 30 },
);

/** Without these, most of what is done would have nothing to do it to. */
const BEGINNING: Act[] = [
  ['make', 0, 1, 'none', 0],
  ['make', 0, 2, 'none', 0],
  ['create', 0, 0, 'none', 0],
  ['create', 1, 1, 'none', 0],
  ['start', 0, 0, 'none', 0],
];

/** Plays it, and takes everything away. */
async function play(sequence: readonly Act[]): Promise<void> {
  const world = new World();
  await world.open();
  for (const act of [...BEGINNING, ...sequence]) await world.act(act);
  await world.end();
}

it('each kind of change can fail, or be cut off, at each of its steps', async () => {
  const kinds = [
    ...[
      ['make', 0, 3],
      ['unmake', 0, 2],
      ['unmake', 1, 1],
      ['create', 2, 3],
      ['destroy', 1, 0],
    ],
    ...[
      ['start', 1, 0],
      ['connect', 0, 1],
      ['connect', 1, 2],
      ['disconnect', 0, 0],
      ['disconnect', 1, 1],
    ],
  ] as [Act[0], number, number][];
  for (const [what, container, network] of kinds)
    for (const how of ['die', 'fail', 'lose', 'guest'] as const)
      for (const at of [0, 1, 2, 3]) {
        const act: Act = [what, container, network, how, at];
        await play([act, [what, container, network, 'none', 0]]).catch((error: unknown) => {
          throw new Error(`${act.join(' ')}: ${String(error)}`);
        });
      }
});

it('whatever happens, in whatever order, networks, cards, addresses and what is kept agree', async () => {
  await fc.assert(fc.asyncProperty(acts, play), { numRuns: 50 });
}, 60_000);
