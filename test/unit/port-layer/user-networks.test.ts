/** Networks that users make: kept, found again, removed; and what containers have on them. */
import { describe, expect, it } from 'vitest';
import { vchConfigSchema } from '../../../port-layer/config.js';
import { cardSettings } from '../../../port-layer/exec/program-spec.js';
import type { NetworkRequest, NetworkSpec } from '../../../port-layer/network/network-spec.js';
import type { NetworkStore } from '../../../port-layer/network/network-store.js';
import { readNetworks } from '../../../port-layer/network/network-store.js';
import { Networks } from '../../../port-layer/network/networks.js';
import type { NetworkChange } from '../../../port-layer/network/types.js';
import { segmentOf } from '../../../src/vim25/index.js';
import { sayingAsDocker } from '../../support/docker-words.js';
import { VCH_CONFIG } from '../../support/vch-config.js';

const CONFIG = vchConfigSchema.parse({
  ...VCH_CONFIG,
  channelDir: '/run/x',
  networks: [{ name: 'bridge', portGroup: 'front', subnet: '172.16.0.0/16' }],
});

const MAC = '00:50:56:00:00:01';

/** Keeps networks in memory, as text like the real one. */
class MemoryStore implements NetworkStore {
  text = '[]';
  failing: Error | null = null;
  private cards = new Map([[segmentOf({ portGroup: 'front' }), 'eth0']]);
  private next = 1;

  load() {
    return Promise.resolve({ networks: readNetworks(this.text), interfaces: this.cards });
  }

  add(network: NetworkSpec, others: readonly NetworkSpec[]): Promise<{ network: NetworkSpec; interface: string }> {
    if (this.failing !== null) return Promise.reject(this.failing);
    this.text = JSON.stringify([...others, network]);
    this.cards.set(segmentOf(network), `eth${this.next++}`);
    return Promise.resolve({ network, interface: this.cards.get(segmentOf(network))! });
  }

  remove(network: NetworkSpec, others: readonly NetworkSpec[]): Promise<void> {
    if (this.failing !== null) return Promise.reject(this.failing);
    this.text = JSON.stringify(others);
    this.cards.delete(segmentOf(network));
    return Promise.resolve();
  }

  portGroupOf({ name }: { name: string }): string {
    return `test-${name}`;
  }
}

const wanted = (name: string, more: Partial<NetworkRequest> = {}): NetworkRequest => ({
  ...{ name, pools: [], ipv4: true, ipv6: false, internal: false, attachable: false },
  ...{ labels: {}, options: {}, ipamOptions: null },
  ...more,
});

const on = (
  id: string,
  ...networks: { network: string; networkId?: string; ipv4?: string; gwPriority?: number }[]
) => ({
  id,
  networks: networks.map((wish) => ({ aliases: [], ...wish })),
});

async function engine(store = new MemoryStore(), containers: object[] = [], ownHost = true): Promise<Networks> {
  const networks = new Networks(CONFIG, { all: () => containers as never }, { store, routes: () => [], ownHost });
  await networks.load();
  return networks;
}

describe('a network', () => {
  it('is made, told of, found after a restart, and removed', async () => {
    const store = new MemoryStore();
    const networks = await engine(store);
    const told: string[] = [];
    networks.onChange((change: NetworkChange) => told.push(`${change.type} ${change.network.name}`));
    const made = await networks.create(wanted('n', { ipv6: true, labels: { a: 'b' }, mtu: 1400, icc: false }));
    expect(made).toMatchObject({ interface: 'eth1', subnet: '172.17.0.0/16', gateway: '172.17.0.1', driver: 'bridge' });
    expect(made).toMatchObject({ portGroup: 'test-n', icc: false, mtu: 1400, egress: 'relay', predefined: false });
    const again = await engine(store);
    expect(again.resolve('n')).toEqual(made);
    await networks.remove('n');
    expect(told).toEqual(['made n', 'gone n']);
    expect((await engine(store)).list().map(({ name }) => name)).toEqual(['bridge']);
    // Its subnet can be had again.
    expect((await networks.create(wanted('m'))).subnet).toBe('172.17.0.0/16');
  });

  it('is made by one of many who ask for the name at once, and subnets are not given twice', async () => {
    const networks = await engine();
    const results = await Promise.allSettled([1, 2, 3].map(() => networks.create(wanted('same'))));
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
    await Promise.all(['a', 'b', 'c', 'd'].map((name) => networks.create(wanted(name))));
    const subnets = networks.list().map(({ subnet }) => subnet);
    expect(new Set(subnets).size).toBe(subnets.length);
  });

  it('leaves nothing when it cannot be made or removed', async () => {
    const store = new MemoryStore();
    const networks = await engine(store);
    store.failing = new Error('no');
    await expect(networks.create(wanted('n'))).rejects.toThrow('no');
    expect(networks.list()).toHaveLength(1);
    store.failing = null;
    const { id } = await networks.create(wanted('n'));
    store.failing = new Error('no');
    await expect(networks.remove('n')).rejects.toThrow('no');
    expect(networks.places.bind(on('c', { network: 'n' }), [''])[0]).toMatchObject({
      networkId: id,
      address: '172.17.0.2',
    });
  });

  it('of the configuration can neither be removed nor made again', async () => {
    const networks = await engine();
    await expect(networks.remove('bridge')).rejects.toMatchObject({ code: 'network.predefined' });
    await expect(networks.create(wanted('bridge'))).rejects.toMatchObject({ code: 'network.predefined' });
  });

  it('stays while a container runs on it or starts, and nobody joins it while it goes', async () => {
    const running = { id: 'c', running: false, spec: { name: 'web' }, endpoints: [] };
    const networks = await engine(new MemoryStore(), [running]);
    await networks.create(wanted('n'));
    networks.places.bind(on('c', { network: 'n' }), ['']);
    await expect(networks.remove('n')).rejects.toMatchObject({ subject: { holders: [{ name: 'web', id: 'c' }] } });
    networks.places.rest('c');
    const going = networks.remove('n');
    await Promise.resolve();
    await going;
    expect(sayingAsDocker(() => networks.places.bind(on('c', { network: 'n' }), ['']))).toThrow('network n not found');
  });

  it('that is kept in a damaged form is left out', () => {
    expect(readNetworks('no JSON')).toEqual([]);
    expect(readNetworks('{}')).toEqual([]);
    expect(readNetworks('[null, {"id": 1}]')).toEqual([]);
  });
});

describe('a container', () => {
  it('goes by the id of its network from its first start on: one made anew under the name is another', async () => {
    const networks = await engine();
    const { id } = await networks.create(wanted('n'));
    const [wish] = networks.places.identified(on('c', { network: 'n' }).networks);
    expect(wish).toMatchObject({ network: 'n', networkId: id });
    expect(networks.places.identified(on('c', { network: 'bridge' }).networks)[0]).not.toHaveProperty('networkId');
    await networks.remove('n');
    await networks.create(wanted('n'));
    expect(sayingAsDocker(() => networks.places.bind({ id: 'c', networks: [wish!] }, ['']))).toThrow(
      `network ${id} not found`,
    );
  });

  it('names a network by name, id, or the beginning of its id, and is on it once', async () => {
    const networks = await engine();
    const { id } = await networks.create(wanted('n'));
    for (const network of ['n', id, id.slice(0, 8)])
      expect(networks.places.settle(on('c', { network })).networks[0]?.network).toBe('n');
    expect(sayingAsDocker(() => networks.places.settle(on('c', { network: 'n' }, { network: id })))).toThrow(
      'given twice',
    );
  });

  it('keeps its address when it is stopped, and when the endpoint is restarted', async () => {
    const store = new MemoryStore();
    const networks = await engine(store);
    await networks.create(wanted('n', { ipv6: true }));
    const spec = on('c', { network: 'n' });
    const first = networks.places.bind(spec, ['m']);
    networks.places.rest('c');
    networks.places.bind(on('other', { network: 'n' }), ['']);
    expect(networks.places.bind(spec, ['m'])[0]?.address).toBe(first[0]?.address);
    const again = await engine(store);
    again.places.recall(spec, first);
    expect(again.places.bind(on('third', { network: 'n' }), [''])[0]?.address).not.toBe(first[0]?.address);
    const { address, address6, gateway6 } = again.places.bind(spec, ['m'])[0]!;
    expect([address, address6]).toEqual([first[0]?.address, first[0]?.address6]);
    expect(gateway6).toMatch(/::1$/);
  });

  it('gives its addresses back on the network that it leaves only', async () => {
    const networks = await engine();
    const { id } = await networks.create(wanted('n', { pools: [{ subnet: '10.5.0.0/24' }] }));
    const spec = on('c', { network: 'bridge' }, { network: 'n', ipv4: '10.5.0.9' });
    const [bridge] = networks.places.bind(spec, ['', '']);
    networks.places.leave('c', id);
    expect(networks.places.bind(on('d', { network: 'n', ipv4: '10.5.0.9' }), [''])[0]?.address).toBe('10.5.0.9');
    expect(
      sayingAsDocker(() =>
        networks.places.join('e', { ...on('', { network: 'n', ipv4: '10.5.0.9' }).networks[0]! }, ''),
      ),
    ).toThrow('Address already in use');
    expect(networks.usage('bridge')[0]?.used).toBe(4n);
    expect(networks.places.bind(on('c', { network: 'bridge' }), [''])[0]?.address).toBe(bridge?.address);
  });

  it('has no gateway on an internal network, and asks its names there', async () => {
    const networks = await engine();
    await networks.create(wanted('n', { internal: true }));
    expect(networks.places.bind(on('c', { network: 'n' }), [''])[0]).toMatchObject({
      internal: true,
      gateway: '',
      nameServers: ['172.17.0.1'],
    });
    expect(networks.places.bind(on('d', { network: 'bridge' }), [''])[0]?.nameServers).toEqual([]);
  });
});

describe('on a host that is not the switch', () => {
  const GROUPS = ['224.0.0.0/4', 'ff00::/8'];
  it.each<[title: string, request: Partial<NetworkRequest>, guard: object]>([
    ['its own network', {}, { from: ['172.17.0.0/16'] }],
    ['both of its families', { ipv6: true }, { from: ['172.17.0.0/16', expect.stringMatching(/^fd.*\/64$/)] }],
    ['the gateway, without icc', { icc: false }, { from: ['172.17.0.1'] }],
    ['an internal network', { internal: true }, { from: ['172.17.0.0/16'], to: ['172.17.0.0/16', ...GROUPS] }],
    ['a network without egress', { egress: 'none' }, { from: ['172.17.0.0/16'], to: ['172.17.0.0/16', ...GROUPS] }],
  ])("a container's machine takes in what comes from %s", async (_, request, guard) => {
    const networks = await engine(new MemoryStore(), [], false);
    await networks.create(wanted('n', request));
    const [endpoint] = networks.places.bind(on('c', { network: 'n' }), [MAC]);
    // Nobody would answer questions for names at the gateway.
    expect(endpoint).toMatchObject({ guard, nameServers: [] });
    expect(endpoint!.named).toBeUndefined();
    const { peers, to, own } = cardSettings(endpoint!, [endpoint!]).filter!;
    expect({ from: peers, to }).toEqual({ to: undefined, ...guard });
    const addresses = [endpoint!.address, endpoint!.address6].filter((one) => one !== '');
    expect(own).toEqual({ mac: MAC, addresses });
  });

  it('the same goes for the default network, and nothing is filtered where the host is the switch', async () => {
    const [there, here] = [await engine(new MemoryStore(), [], false), await engine()];
    const place = (networks: Networks) => networks.places.bind(on('c', { network: 'bridge' }), [MAC])[0]!;
    expect(place(there).guard).toEqual({ from: ['172.16.0.0/16'] });
    expect(place(here).guard).toBeUndefined();
    expect(cardSettings(place(here), []).filter).toBeUndefined();
  });

  it('a relay is refused, which it does not have', async () => {
    const networks = await engine(new MemoryStore(), [], false);
    await expect(networks.create(wanted('n', { egress: 'relay' }))).rejects.toMatchObject({ kind: 'unsupported' });
    expect((await (await engine()).create(wanted('n', { egress: 'relay' }))).egress).toBe('relay');
  });
});
