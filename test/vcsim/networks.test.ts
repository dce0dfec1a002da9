/** User-made networks on a vCenter and an ESX host that we did not write: what is asked of them, and what other clients see then. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostPolicy, type PolicyHostParts } from '../../appliance/docker/policy/host-policy.js';
import { OwnGateway } from '../../appliance/gateway/index.js';
import { PolicyService } from '../../appliance/policy/index.js';
import { vchConfigSchema } from '../../port-layer/config.js';
import type { ContainerSpec } from '../../port-layer/exec/container-spec.js';
import { change } from '../../port-layer/exec/handle.js';
import { containerVmSpec } from '../../port-layer/exec/vm-spec.js';
import { OwnVmKeys } from '../../port-layer/network/endpoint-keys.js';
import { EndpointVm } from '../../port-layer/network/endpoint-vm.js';
import { cardsFor, cardsOf } from '../../port-layer/network/endpoints.js';
import { NETWORKS_KEY } from '../../port-layer/network/made-port-groups.js';
import type { NetworkSpec } from '../../port-layer/network/network-spec.js';
import { Networks } from '../../port-layer/network/networks.js';
import { createVch, deleteVch, listVchs, type NewVch, type Vch } from '../../src/cli/vch.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { inventory, place } from '../support/inventory.js';
import { networkSpec } from '../support/network-spec.js';
import { startVcsim, type Vcsim } from '../support/vcsim.js';

const ID = '5'.repeat(32);

/** A client that notes what it is asked to change. @param die whether the asker is killed before the call, so that nothing more is done */
function recording(
  client: VimClient,
  die: (calls: readonly string[]) => boolean = () => false,
): { client: VimClient; calls: string[] } {
  const calls: string[] = [];
  let dead = false;
  const noted = new Proxy(client, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const changes = name === 'call' || name === 'runTask';
        if (changes && !/ContainerView|DestroyView/.test(String(args[0]))) {
          dead ||= die([...calls, String(args[0])]);
          if (dead) return Promise.reject(new Error('killed'));
          calls.push(String(args[0]));
        }
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

  const store = (
    allowNetworkCreate: boolean,
    die?: (calls: readonly string[]) => boolean,
    networkVlans?: { first: number; last: number },
  ) => {
    const noted = recording(client, die);
    const bridge = { name: 'bridge', portGroup: 'VM Network', subnet: '172.17.0.0/16' };
    const config = {
      id: ID,
      name: 'shop',
      resourcePool: pool,
      networks: [bridge] as [typeof bridge],
      allowNetworkCreate,
      networkVlans,
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

  const systems = async () => {
    const [owner] = await client.retrieve([pool], 'ResourcePool', ['owner']);
    const [compute] = await client.retrieve([owner!.props.owner!], 'ComputeResource', ['host']);
    const hosts = await client.retrieve(compute!.props.host!, 'HostSystem', ['configManager']);
    return hosts.map(({ props }) => props.configManager!.networkSystem!);
  };
  const addPortGroup = async (name: string) =>
    client.call('AddPortGroup', (await systems())[0]!, {
      portgrp: { name, vlanId: 0, vswitchName: 'vSwitch0', policy: {} },
    });
  const removePortGroup = async (pgName: string) => client.call('RemovePortGroup', (await systems())[0]!, { pgName });
  const vlans = async () =>
    (await client.retrieve(await systems(), 'HostNetworkSystem', ['networkInfo'])).flatMap(({ props }) =>
      (props.networkInfo?.portgroup ?? []).map((one) => one.spec.vlanId),
    );

  it('without the right to make port groups, they share the default one', async () => {
    const { store: endpointVm, calls } = store(false);
    await endpointVm.load();
    const before = (await seen()).networks;
    calls.length = 0;
    expect(endpointVm.makesPortGroups).toBe(false);
    const one = network('one', endpointVm.portGroupOf({ id: '1'.repeat(64), name: 'one' }));
    expect(one.portGroup).toBe('VM Network');
    await endpointVm.add(one, []);
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
    await endpointVm.add(two, []);
    const made = calls.filter((name) => name === 'AddPortGroup');
    // It is written down first: nothing else would tell it from a port group that was there before.
    expect(calls).toEqual(['ReconfigVM_Task', ...made, 'ReconfigVM_Task']);
    expect(made.length).toBeGreaterThanOrEqual(Math.max(1, hosts));
    expect(await seen()).toMatchObject({
      kept: ['two'],
      cards: [two.portGroup],
      networks: expect.arrayContaining([two.portGroup]),
    });
    // An endpoint that starts finds it as it is, and changes nothing.
    const next = store(true);
    expect([...(await next.store.load()).interfaces.keys()]).toEqual([`name ${two.portGroup}`]);
    expect(next.calls).toEqual([]);
    calls.length = 0;
    await endpointVm.remove(two, []);
    expect(calls).toEqual(['ReconfigVM_Task', ...made.map(() => 'RemovePortGroup')]);
    expect(await seen()).toMatchObject({ kept: [], cards: [] });
    expect((await seen()).networks).not.toContain(two.portGroup);
  });

  it.each([
    ['AddPortGroup', 'before it noted the network'],
    ['RemovePortGroup', 'before it removed the port group'],
  ])('what an endpoint that was killed after %s left behind, %s, is removed when the next one starts', async (last) => {
    const id = '3'.repeat(64);
    const there = (await seen()).networks;
    // A port group that looks like ours is none if nothing says that we have made it.
    const foreign = `shop-foreign-${'4'.repeat(12)}`;
    await addPortGroup(foreign);
    // It dies with the first change after the last port group was made, or instead of removing it.
    const added = (calls: readonly string[]): number => calls.filter((name) => name === 'AddPortGroup').length;
    const dies =
      last === 'AddPortGroup'
        ? (calls: readonly string[]) => added(calls) > 0 && calls.at(-1) === 'ReconfigVM_Task'
        : (calls: readonly string[]) => calls.at(-1) === 'RemovePortGroup';
    const { store: endpointVm } = store(true, dies);
    await endpointVm.load();
    const three = { ...network('three', endpointVm.portGroupOf({ id, name: 'three' })), id };
    if (last === 'AddPortGroup')
      await expect(endpointVm.add(three, [])).rejects.toMatchObject({ code: 'network.notMade' });
    else {
      await endpointVm.add(three, []);
      // Logged; the network is gone for whoever asked.
      await endpointVm.remove(three, []);
    }
    expect((await seen()).networks).toContain(three.portGroup);
    expect(await store(true).store.load()).toEqual({ networks: [], interfaces: new Map() });
    expect(await seen()).toMatchObject({ kept: [], cards: [], networks: [...there, foreign] });
    await removePortGroup(foreign);
  });

  it('a name that is taken is refused, and the port group stays', async () => {
    const id = '5'.repeat(64);
    const { store: endpointVm, calls } = store(true);
    await endpointVm.load();
    const five = { ...network('five', endpointVm.portGroupOf({ id, name: 'five' })), id };
    await addPortGroup(five.portGroup);
    calls.length = 0;
    await expect(endpointVm.add(five, [])).rejects.toThrow('there is a port group shop-five-555555555555 already');
    expect(calls).toEqual([]);
    await store(true).store.load();
    expect((await seen()).networks).toContain(five.portGroup);
    await removePortGroup(five.portGroup);
  });

  it('each gets a VLAN that nobody has, if an administrator names some', async () => {
    const { store: endpointVm } = store(true, undefined, { first: 100, last: 101 });
    await endpointVm.load();
    const made: NetworkSpec[] = [];
    for (const digit of ['6', '7']) {
      const id = digit.repeat(64);
      const spec = { ...network(digit, endpointVm.portGroupOf({ id, name: `v${digit}` })), id };
      made.push((await endpointVm.add(spec, made)).network);
    }
    const id = '8'.repeat(64);
    const last = { ...network('8', endpointVm.portGroupOf({ id, name: 'v8' })), id };
    await expect(endpointVm.add(last, made)).rejects.toThrow('none of the VLANs 100 to 101');
    expect(made.map(({ vlan }) => vlan)).toEqual([100, 101]);
    expect((await vlans()).filter((vlan) => vlan > 0).sort()).toEqual(expect.arrayContaining([100, 101]));
    for (const [at, one] of made.entries()) await endpointVm.remove(one, made.slice(at + 1));
  });
});

/** An administrator's host, without its own login. */
const newVch = (name: string, vcsim: Vcsim, more: Partial<NewVch> = {}): NewVch => ({
  name,
  login: { url: vcsim.url, user: vcsim.user, password: vcsim.password, thumbprint: vcsim.thumbprint },
  imageStore: { datastore: 'LocalDS_0', path: '' },
  networks: [{ name: 'bridge', portGroup: 'DC0_DVPG0', subnet: '172.16.0.0/16' }],
  listen: [],
  registry: { mirrors: [], insecure: [], certificateAuthorities: [] },
  container: { cpus: 1, memoryMiB: 64, baseImageSizeGiB: 1 },
  channelDir: '/run/none',
  ...more,
});

describe('a distributed port group of a vCenter', () => {
  let vcsim: Vcsim;
  let client: VimClient;
  beforeAll(async () => {
    vcsim = await startVcsim('vpx');
    client = await VimClient.connect(vcsim);
  });
  afterAll(async () => {
    await client?.close();
    await vcsim?.stop();
  });

  const groups = async (): Promise<string[]> => [...(await inventory(client, 'Network')).keys()].sort();
  const create = (name: string, more: Partial<NewVch> = {}, by: VimClient = client): Promise<Vch> =>
    createVch(by, newVch(name, vcsim, { computeResource: 'DC0_C0', ...more }), () => undefined);
  const backings = async ({ endpoint }: Pick<Vch, 'endpoint'>): Promise<unknown[]> => {
    const [vm] = await client.retrieve([endpoint], 'VirtualMachine', ['config.hardware']);
    return (vm?.props['config.hardware']?.device ?? []).flatMap((one) => ('macAddress' in one ? [one.backing] : []));
  };
  const card = (distributed: unknown) =>
    expect.objectContaining({ $type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo', port: distributed });
  const spec = (digit: string, endpointVm: EndpointVm): NetworkSpec => {
    const id = digit.repeat(64);
    return { ...network(digit, endpointVm.portGroupOf({ id, name: `n${digit}` })), id };
  };

  it('is the bridge network, by name or path, and new networks are port groups of its switch', async () => {
    const before = await groups();
    const vch = await create('shop', { settings: { allowNetworkCreate: true, networkVlans: { first: 7, last: 9 } } });
    const [{ distributed, portGroup }] = vch.config.networks;
    expect({ portGroup, distributed }).toEqual({
      portGroup: 'DC0_DVPG0',
      distributed: { portgroupKey: expect.stringMatching(/^dvportgroup-/), switchUuid: expect.any(String) },
    });
    expect(await backings(vch)).toEqual([card(distributed)]);
    // What the endpoint reads of its VM is what vic-machine has written.
    const [read] = await listVchs(client);
    expect(vchConfigSchema.parse(read!.config).networks).toEqual(vch.config.networks);
    await expect(create('other')).rejects.toThrow('Bridge network "DC0_DVPG0" is used by VCH "shop" already');
    await expect(
      create('other', { networks: [{ name: 'bridge', portGroup: '/DC0/network/DC0_DVPG0', subnet: '172.16.0.0/16' }] }),
    ).rejects.toThrow('Bridge network "DC0_DVPG0" is used by VCH "shop" already');

    const noted = recording(client);
    const endpointVm = new EndpointVm(noted.client, vch.config);
    await endpointVm.load();
    const made = await endpointVm.add(spec('2', endpointVm), []);
    expect(noted.calls).toEqual(['ReconfigVM_Task', 'AddDVPortgroup_Task', 'ReconfigVM_Task']);
    expect(made).toMatchObject({
      network: { portGroup: 'shop-n2-222222222222', vlan: 7, distributed: { switchUuid: distributed!.switchUuid } },
      interface: expect.stringMatching(/^eth/),
    });
    expect(await backings(vch)).toEqual([card(distributed), card(made.network.distributed)]);
    expect(await groups()).toEqual([...before, made.network.portGroup].sort());
    // Its policy is strict, and vSphere clients see whose it is.
    const refs = await inventory(client, 'Network');
    const [object] = await client.retrieve([refs.get(made.network.portGroup)!], 'DistributedVirtualPortgroup', [
      'config',
    ]);
    const no = { inherited: false, value: false };
    expect(object?.props.config).toMatchObject({
      description: `Network of the virtual container host shop (${vch.id})`,
      type: 'earlyBinding',
      autoExpand: true,
      defaultPortConfig: {
        vlan: { vlanId: 7 },
        securityPolicy: { allowPromiscuous: no, macChanges: no, forgedTransmits: no },
      },
    });
    // The next endpoint finds it as it is, by its key.
    const next = recording(client);
    const found = await new EndpointVm(next.client, vch.config).load();
    expect(found.networks).toEqual([made.network]);
    expect(next.calls).toEqual([]);
    noted.calls.length = 0;
    await endpointVm.remove(made.network, []);
    expect(noted.calls).toEqual(['ReconfigVM_Task', 'Destroy_Task']);
    expect(await groups()).toEqual(before);
    await deleteVch(client, vch, { force: false }, () => undefined);
  });

  it("is what a container's cards are attached to, when its machine is made and later", async () => {
    const { folder, pool } = await place(client);
    const lan = { name: 'lan', portGroup: '/DC0/network/DC0_DVPG0', ipRanges: [], dns: [], trust: 'open' as const };
    const bridge: NewVch['networks'] = [{ name: 'bridge', portGroup: 'VM Network', subnet: '172.16.0.0/16' }];
    const vch = await create('shop', { networks: bridge, settings: { containerNetworks: [lan] } });
    const networks = new Networks(vch.config, { all: () => [] });
    const named = { id: 'c'.repeat(64), name: 'c', cpus: 1, memoryMiB: 64, annotations: {} };
    const spec = { ...named, networks: [{ network: 'bridge', aliases: [] }] } as unknown as ContainerSpec;
    const { deviceChange = [] } = containerVmSpec(vch.config, spec, 'x.vmdk', (wish) =>
      networks.places.attachmentOf(wish),
    );
    const cards = deviceChange.filter(({ device }) => device.$type === 'VirtualVmxnet3');
    const files = { vmPathName: `[LocalDS_0]` };
    const config = { name: 'c', guestId: 'otherGuest', numCPUs: 1, memoryMB: 64, files, deviceChange: cards };
    const vm = (await client.runTask('CreateVM_Task', folder, { pool, config })) as ManagedObjectReference;
    const there = async () => {
      const [object] = await client.retrieve([vm], 'VirtualMachine', ['config.hardware']);
      return cardsOf(object?.props['config.hardware']?.device ?? []);
    };
    const attachment = networks.places.attachmentOf({ network: 'lan' });
    expect(attachment.distributed).toBeDefined();
    await change(client, vm, null, (handle) => handle.addCard({ ...attachment, mac: '00:50:56:00:00:01' }));
    const wanted = [attachment, networks.places.attachmentOf({ network: 'bridge' })];
    const found = cardsFor(wanted, await there());
    expect(found.map((one) => one?.distributed ?? one?.portGroup)).toEqual([attachment.distributed, 'VM Network']);
    await change(client, vm, null, (handle) => handle.removeCard(found[0]!.key));
    expect((await there()).map(({ portGroup }) => portGroup)).toEqual(['VM Network']);
    await client.runTask('Destroy_Task', vm, {});
    await deleteVch(client, vch, { force: true }, () => undefined);
  });

  it('new networks without VLANs are in that of the bridge network', async () => {
    const vch = await create('shop', { settings: { allowNetworkCreate: true } });
    const endpointVm = new EndpointVm(client, vch.config);
    await endpointVm.load();
    const { network: made } = await endpointVm.add(spec('3', endpointVm), []);
    const refs = await inventory(client, 'Network');
    const [own, bridge] = await client.retrieve(
      [refs.get(made.portGroup)!, refs.get('DC0_DVPG0')!],
      'DistributedVirtualPortgroup',
      ['config.defaultPortConfig'],
    );
    const vlan = (one: typeof own) => (one?.props['config.defaultPortConfig'] as { vlan?: unknown } | undefined)?.vlan;
    expect(vlan(own)).toEqual(vlan(bridge));
    expect(vlan(own)).toBeDefined();
    await deleteVch(client, vch, { force: true }, () => undefined);
  });

  it.each([
    ['which has networks', false],
    ['whose endpoint was killed while it made one', true],
  ])('the port groups that a host %s has made go with it, those of others stay', async (_, killed) => {
    const before = await groups();
    const vch = await create('shop', { settings: { allowNetworkCreate: true } });
    const whole = new EndpointVm(client, vch.config);
    await whole.load();
    const first = (await whole.add(spec('4', whole), [])).network;
    if (killed) {
      const { client: dying } = recording(
        client,
        (calls) => calls.filter((name) => name === 'ReconfigVM_Task').length > 1,
      );
      const half = new EndpointVm(dying, vch.config);
      await half.load();
      await expect(half.add(spec('5', half), [first])).rejects.toThrow('killed');
    }
    expect(await groups()).toHaveLength(before.length + (killed ? 2 : 1));
    const noted = recording(client);
    await deleteVch(noted.client, vch, { force: true }, () => undefined);
    // Cards first, since no port group in use can be removed; the notes about them go last.
    const destroyed = noted.calls.filter((name) => /Reconfig|Destroy_Task/.test(name));
    expect(destroyed).toEqual([
      'ReconfigVM_Task',
      ...(killed ? ['Destroy_Task'] : []),
      'Destroy_Task',
      'Destroy_Task',
      'Destroy_Task',
    ]);
    expect(await groups()).toEqual(before);
  });

  it('is refused where it is not there, and so is what only the embedded host can do', async () => {
    const bridge = (portGroup: string): Partial<NewVch> => ({
      networks: [{ name: 'bridge', portGroup, subnet: '172.16.0.0/16' }],
    });
    const refused: [Partial<NewVch>, string][] = [
      [bridge('missing'), "--bridge-network 'missing' was not found. On a vCenter, create the port group first."],
      [bridge('/DC0/network/missing'), 'was not found'],
      [bridge('/DC0/vm'), 'was not found'],
      [{ settings: { hostPorts: [80] } }, '--allow-host-ports needs the embedded host'],
      [{ settings: { egressRate: 1000 } }, '--egress-rate needs the embedded host'],
      [{ settings: { egress: 'relay' as const } }, '--egress relay needs the embedded host'],
      [
        {
          settings: {
            containerNetworks: [
              { name: 'lan', portGroup: '/DC0/network/DC0_DVPG0', ipRanges: [], dns: [], trust: 'open' as const },
            ],
          },
        },
        'must not be shared with another network role: DC0_DVPG0',
      ],
    ];
    for (const [more, why] of refused) await expect(create('shop', more)).rejects.toThrow(why);
    expect(await listVchs(client)).toEqual([]);
  });

  it('and its switch are what the user of the endpoint gets rights on, the switch only if it may make networks', async () => {
    const opsUser = { user: 'ops', password: 'x', grant: true };
    const manager = client.serviceContent.authorizationManager!;
    for (const allowNetworkCreate of [false, true]) {
      const vch = await create('shop', { opsUser, settings: { allowNetworkCreate } });
      const refs = await inventory(client, 'Network');
      const [group] = await client.retrieve([refs.get('DC0_DVPG0')!], 'DistributedVirtualPortgroup', ['config']);
      const dvs = group!.props.config!.distributedVirtualSwitch!;
      // vcsim gives several roles one number, so that only who has rights can be told, not which.
      const rights = async (entity: ManagedObjectReference): Promise<boolean[]> => {
        const found = await client.call('RetrieveEntityPermissions', manager, { entity, inherited: false });
        return (found ?? []).filter(({ principal }) => principal === 'ops').map(({ propagate }) => propagate);
      };
      expect(await rights(group!.ref)).toEqual([false]);
      expect(await rights(dvs)).toEqual(allowNetworkCreate ? [true] : []);
      const [roles] = await client.retrieve([manager], 'AuthorizationManager', ['roleList']);
      const role = roles!.props.roleList?.find(({ name }) => name === 'caisson-vch-switch')?.privilege;
      const needed = ['DVPortgroup.Create', 'DVPortgroup.Delete', 'Network.Assign'];
      expect(role?.filter((one) => needed.includes(one))).toEqual(allowNetworkCreate ? needed : undefined);
      await deleteVch(client, vch, { force: true }, () => undefined);
    }
  });

  it('may be gone when its host is deleted', async () => {
    const vch = await create('shop', { settings: { allowNetworkCreate: true } });
    const endpointVm = new EndpointVm(client, vch.config);
    await endpointVm.load();
    await endpointVm.add(spec('9', endpointVm), []);
    const refs = await inventory(client, 'Network');
    const [group] = await client.retrieve([refs.get('DC0_DVPG0')!], 'DistributedVirtualPortgroup', ['config']);
    await client.runTask('Destroy_Task', group!.props.config!.distributedVirtualSwitch!, {});
    await deleteVch(client, vch, { force: true }, () => undefined);
    expect(await listVchs(client)).toEqual([]);
  });
});

it('a policy is refused on a vCenter, and nothing of it stays', async () => {
  const vcsim = await startVcsim('vpx');
  const client = await VimClient.connect(vcsim);
  try {
    const vch = await createVch(client, newVch('shop', vcsim, { computeResource: 'DC0_C0' }), () => undefined);
    const noted = recording(client);
    const endpoint = new OwnVmKeys(noted.client, vch.id);
    const [vm] = await client.retrieve([vch.endpoint], 'VirtualMachine', ['config.extraConfig']);
    const keys = new Map(vm!.props['config.extraConfig']!.map(({ key, value }) => [key, String(value)]));
    expect(endpoint.observe({ ref: vch.endpoint, keys })).toBe(true);
    const written: string[] = [];
    const kv = {
      get: async () => null,
      put: async (key: string) => void written.push(key),
      delete: async () => undefined,
    };
    const exec = { list: () => [] };
    const nobody = (): void => undefined;
    const parts = { exec, kv, endpoint } as unknown as PolicyHostParts;
    const names = { watch: nobody, restrict: async () => undefined };
    const host = new HostPolicy(parts, new OwnGateway(nobody, ''), () => [], names);
    const policies = new PolicyService(host);
    await policies.open();
    const rule = 'rules:\n  - { name: r, direction: in, select: { names: [a] }, action: drop }\n';
    await expect(policies.setProject(rule)).rejects.toMatchObject({
      kind: 'unsupported',
      message: 'policies need the embedded host, whose switch enforces them: this vSphere host does not',
    });
    // It was given to the host, which did not say that it enforces it, and taken back.
    expect(noted.calls).toEqual(['ReconfigVM_Task', 'ReconfigVM_Task']);
    expect([policies.active, written, policies.text('project')]).toEqual([false, [], '']);
    // Containers go on starting.
    await policies.changed();
    await deleteVch(client, vch, { force: true }, () => undefined);
  } finally {
    await client.close();
    await vcsim.stop();
  }
});

it('a port group that a single host had before stays when the host is deleted, and one that was made goes', async () => {
  const vcsim = await startVcsim('esx');
  const client = await VimClient.connect(vcsim);
  try {
    const before = [...(await inventory(client, 'Network')).keys()];
    for (const portGroup of ['VM Network', 'made']) {
      const networks: NewVch['networks'] = [{ name: 'bridge', portGroup, subnet: '172.16.0.0/16' }];
      const more = { networks, imageStore: { datastore: 'LocalDS_0', path: '' } };
      const vch = await createVch(client, newVch('shop', vcsim, more), () => undefined);
      await deleteVch(client, vch, { force: true }, () => undefined);
      expect([...(await inventory(client, 'Network')).keys()], portGroup).toEqual(before);
    }
  } finally {
    await client.close();
    await vcsim.stop();
  }
});
