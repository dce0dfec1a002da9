/** User-made networks on a vCenter and an ESX host that we did not write: what is asked of them, and what other clients see then. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EndpointVm, NETWORKS_KEY } from '../../port-layer/network/endpoint-vm.js';
import type { NetworkSpec } from '../../port-layer/network/network-spec.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { inventory, place } from '../support/inventory.js';
import { networkSpec } from '../support/network-spec.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

const ID = '5'.repeat(32);

/** A client that notes what it is asked to change. */
function recording(client: VimClient): { client: VimClient; calls: string[] } {
  const calls: string[] = [];
  const noted = new Proxy(client, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (name === 'call' || name === 'runTask') calls.push(String(args[0]));
        return (value as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return { client: noted, calls };
}

const network = (name: string, portGroup: string): NetworkSpec =>
  networkSpec({
    id: name.charCodeAt(0).toString(16).padStart(64, '0'),
    name,
    portGroup,
    pools: [{ subnet: '172.18.0.0/16', gateway: '172.18.0.1', aux: {} }],
    ipamOptions: {},
  });

describe.each(['vpx', 'esx'] as const)('networks on the %s model', (model) => {
  let vcsim: Vcsim;
  let client: VimClient;
  let pool: ManagedObjectReference;
  let endpoint: ManagedObjectReference;

  beforeAll(async () => {
    vcsim = await startVcsim(model);
    client = await VimClient.connect(vcsim);
    const where = await place(client);
    pool = where.pool;
    const extraConfig = [
      { key: 'caisson.appliance', value: 'endpoint' },
      { key: 'caisson.vch', value: ID },
    ];
    endpoint = (await client.runTask('CreateVM_Task', where.folder, {
      pool,
      config: {
        name: 'shop',
        guestId: 'other3xLinux64Guest',
        numCPUs: 1,
        memoryMB: 64,
        files: { vmPathName: `[${where.datastore}]` },
        extraConfig,
      },
    })) as ManagedObjectReference;
  });
  afterAll(async () => {
    await client?.close();
    await vcsim?.stop();
  });

  const store = (allowNetworkCreate: boolean) => {
    const noted = recording(client);
    const bridge = { name: 'bridge', portGroup: 'VM Network', subnet: '172.17.0.0/16' };
    const config = {
      id: ID,
      name: 'shop',
      resourcePool: pool,
      networks: [bridge] as [typeof bridge],
      allowNetworkCreate,
    };
    return { ...noted, store: new EndpointVm(noted.client, config) };
  };
  const seen = async () => {
    const [vm] = await client.retrieve([endpoint], 'VirtualMachine', ['config.extraConfig', 'config.hardware']);
    // Old simulators keep the earlier values of a key too.
    const kept = vm?.props['config.extraConfig']?.findLast(({ key }) => key === NETWORKS_KEY)?.value;
    const cards = (vm?.props['config.hardware']?.device ?? []).filter((device) => 'macAddress' in device);
    return {
      kept: (JSON.parse(String(kept ?? '') || '[]') as NetworkSpec[]).map(({ name }) => name),
      cards: cards.map(({ backing }) => (backing as { deviceName?: string }).deviceName),
      networks: [...(await inventory(client, 'Network')).keys()],
    };
  };

  it('without the right to make port groups, they share the default one', async () => {
    const { store: endpointVm, calls } = store(false);
    await endpointVm.load();
    const before = (await seen()).networks;
    calls.length = 0;
    expect(endpointVm.makesPortGroups).toBe(false);
    const one = network('one', endpointVm.portGroupOf({ id: '1'.repeat(64), name: 'one' }));
    expect(one.portGroup).toBe('VM Network');
    await endpointVm.add(one, [one]);
    expect(calls).toEqual(['ReconfigVM_Task']);
    expect(await seen()).toEqual({ kept: ['one'], cards: [], networks: before });
    expect((await store(false).store.load()).networks).toEqual([one]);
    calls.length = 0;
    await endpointVm.remove(one, []);
    expect(calls).toEqual(['ReconfigVM_Task']);
    expect((await seen()).kept).toEqual([]);
  });

  it('with it, each is a port group on every host, with a card of the endpoint', async () => {
    const { store: endpointVm, calls } = store(true);
    await endpointVm.load();
    const hosts = model === 'esx' ? 1 : 0;
    calls.length = 0;
    const id = '2'.repeat(64);
    const two = { ...network('two', endpointVm.portGroupOf({ id, name: 'two' })), id };
    expect(two.portGroup).toBe('shop-two-222222222222');
    await endpointVm.add(two, [two]);
    const made = calls.filter((name) => name === 'AddPortGroup');
    expect(calls).toEqual([...made, 'ReconfigVM_Task']);
    expect(made.length).toBeGreaterThanOrEqual(Math.max(1, hosts));
    expect(await seen()).toMatchObject({
      kept: ['two'],
      cards: [two.portGroup],
      networks: expect.arrayContaining([two.portGroup]),
    });
    // An endpoint that starts finds it as it is, and changes nothing.
    const next = store(true);
    expect([...(await next.store.load()).interfaces.keys()]).toEqual([two.portGroup]);
    expect(next.calls.filter((name) => name !== 'CreateContainerView')).toEqual([]);
    calls.length = 0;
    await endpointVm.remove(two, []);
    expect(calls).toEqual(['ReconfigVM_Task', ...made.map(() => 'RemovePortGroup')]);
    expect(await seen()).toMatchObject({ kept: [], cards: [] });
    expect((await seen()).networks).not.toContain(two.portGroup);
  });

  it('what an endpoint that was killed left behind is removed when the next one starts', async () => {
    const { store: endpointVm } = store(true);
    await endpointVm.load();
    const id = '3'.repeat(64);
    const three = { ...network('three', endpointVm.portGroupOf({ id, name: 'three' })), id };
    await endpointVm.add(three, []);
    expect((await seen()).networks).toContain(three.portGroup);
    expect(await store(true).store.load()).toEqual({ networks: [], interfaces: new Map() });
    expect(await seen()).toMatchObject({ kept: [], cards: [] });
    expect((await seen()).networks).not.toContain(three.portGroup);
  });
});
