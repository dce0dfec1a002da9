/** What the login of a virtual container host may do with networks: make port groups, and connect its own endpoint VM to them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deleteVch, separateLogin } from '../../src/cli/vch.js';
import type { HostSwitch } from '../../src/hostd/inventory/inventory.js';
import { PolicyTables } from '../../src/hostd/switch/policy-tables.js';
import { type ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { type FakeHostd, startFakeHostd } from '../support/fake-hostd.js';
import { makeVch, type TestVch } from '../support/two-vchs.js';

const NETWORK_SYSTEM: ManagedObjectReference = { type: 'HostNetworkSystem', value: 'networkSystem' };
/** What the virtual switch was told of port groups. */
const treated: string[] = [];
const nothing = async (): Promise<void> => undefined;
const virtualSwitch: HostSwitch = {
  addPortGroups: nothing,
  removePortGroup: nothing,
  removeSpareBridges: nothing,
  setPolicy: nothing,
  allow: async (moid, nics) => {
    treated.push(`${moid} ${nics.map(({ trust }) => JSON.stringify(trust)).join(' ')}`);
  },
  flows: new PolicyTables('/nowhere'),
  configurePortGroup: async (name, { isolated, mtu }) => {
    treated.push(`${name} ${isolated ? 'isolated' : 'open'} ${mtu}`);
  },
};
let hostd: FakeHostd;
let admin: VimClient;
let mine: TestVch;
let theirs: TestVch;

beforeAll(async () => {
  hostd = await startFakeHostd({ virtualSwitch });
  admin = await VimClient.connect(hostd);
  mine = await makeVch(hostd, admin, 'mine', 'mine');
  theirs = await makeVch(hostd, admin, 'theirs', 'theirs');
});
afterAll(async () => {
  for (const client of [mine?.client, theirs?.client, admin]) await client?.close();
  await hostd?.stop();
});

type Security = { allowPromiscuous?: boolean; macChanges?: boolean; forgedTransmits?: boolean };
const group = (name: string, security: Security = {}): { portgrp: never } => ({
  portgrp: { name, vlanId: 0, vswitchName: 'vSwitch0', policy: { security } } as never,
});
const add = (client: VimClient, name: string, security?: Security): Promise<unknown> =>
  client.call('AddPortGroup', NETWORK_SYSTEM, group(name, security));
const update = (client: VimClient, pgName: string, security?: Security): Promise<unknown> =>
  client.call('UpdatePortGroup', NETWORK_SYSTEM, { pgName, ...group(pgName, security) });
const remove = (client: VimClient, pgName: string): Promise<unknown> =>
  client.call('RemovePortGroup', NETWORK_SYSTEM, { pgName });
const fails = ($type: string) => ({ fault: { $type } });

/** Names of the networks that a client sees. */
async function networks(client: VimClient): Promise<string[]> {
  const [folder] = await client.retrieve([{ type: 'ComputeResource', value: 'ha-compute-res' }], 'ComputeResource', [
    'network',
  ]);
  const refs = folder!.props.network ?? [];
  const [system] = await client.retrieve([NETWORK_SYSTEM], 'HostNetworkSystem', ['networkInfo']);
  const listed = system!.props.networkInfo?.portgroup?.map(({ spec }) => spec.name) ?? [];
  // Both ways to look show the same.
  expect(refs.map(({ value }) => value.replace('HaNetwork-', '')).sort()).toEqual([...listed].sort());
  return listed;
}

const card = (deviceName: string, device = {}): object => ({
  operation: 'add',
  device: {
    $type: 'VirtualVmxnet3',
    key: -1,
    backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName },
    addressType: 'generated',
    ...device,
  },
});
const unplug = (key: number): object => ({ operation: 'remove', device: { $type: 'VirtualVmxnet3', key } });
const reconfigure = (
  { client, endpoint }: Pick<TestVch, 'client' | 'endpoint'>,
  deviceChange: object[],
  extraConfig: { key: string; value: string }[] = [],
): Promise<unknown> => client.runTask('ReconfigVM_Task', endpoint, { spec: { deviceChange, extraConfig } as never });

/** What an endpoint VM has: port groups by card, and the key in which the endpoint keeps its networks. */
async function has({ endpoint }: TestVch): Promise<{ cards: string[]; kept: unknown }> {
  const [vm] = await admin.retrieve([endpoint], 'VirtualMachine', ['config.hardware', 'config.extraConfig']);
  const cards = (vm!.props['config.hardware']?.device ?? []).flatMap(({ key, backing }) =>
    key >= 4000 && key < 5000 ? [`${key} ${(backing as { deviceName?: string }).deviceName}`] : [],
  );
  const kept = vm!.props['config.extraConfig']?.find(({ key }) => key === 'caisson.networks')?.value;
  return { cards, kept };
}

describe('port groups that a virtual container host makes', () => {
  it('are its own: it can change and remove them, others do not see them', async () => {
    await add(mine.client, 'mine-a');
    await update(mine.client, 'mine-a');
    expect(await networks(mine.client)).toEqual(['mine-bridge', 'mine-a']);
    expect(await networks(theirs.client)).toEqual(['theirs-bridge']);
    expect(await networks(admin)).toEqual(['VM Network', 'mine-bridge', 'theirs-bridge', 'mine-a']);
    await expect(remove(theirs.client, 'mine-a')).rejects.toMatchObject(fails('NotFound'));
    await expect(update(theirs.client, 'mine-a')).rejects.toMatchObject(fails('NotFound'));
    await expect(add(theirs.client, 'mine-a')).rejects.toMatchObject(fails('AlreadyExists'));
    await hostd.restart();
    for (const one of [mine, theirs]) one.client = await VimClient.connect(one.config.target);
    admin = await VimClient.connect(hostd);
    expect(await networks(theirs.client)).toEqual(['theirs-bridge']);
    await remove(mine.client, 'mine-a');
    expect(await networks(admin)).not.toContain('mine-a');
  });

  it('are no way to those of an administrator, or to a laxer policy', async () => {
    await expect(remove(mine.client, 'mine-bridge')).rejects.toMatchObject(fails('NoPermission'));
    await expect(update(mine.client, 'mine-bridge', { forgedTransmits: true })).rejects.toMatchObject(
      fails('NoPermission'),
    );
    await expect(remove(mine.client, 'VM Network')).rejects.toMatchObject(fails('NotFound'));
    for (const security of [{ forgedTransmits: true }, { macChanges: true }]) {
      await expect(add(mine.client, 'mine-lax', security)).rejects.toMatchObject(fails('NoPermission'));
      await add(mine.client, 'mine-strict');
      await expect(update(mine.client, 'mine-strict', security)).rejects.toMatchObject(fails('NoPermission'));
      await remove(mine.client, 'mine-strict');
    }
    expect(await networks(mine.client)).toEqual(['mine-bridge']);
    await expect(add(mine.client, 'two\nlines')).rejects.toMatchObject(fails('InvalidName'));
  });

  it('are bounded in number, and go with the endpoint VM', async () => {
    const other = await makeVch(hostd, admin, 'other', 'other');
    const names = Array.from({ length: 250 }, (_, at) => `other-${at}`);
    for (const name of names) await add(other.client, name);
    await expect(add(other.client, 'other-more')).rejects.toMatchObject(fails('LimitExceeded'));
    await add(mine.client, 'mine-still');
    await remove(mine.client, 'mine-still');
    await other.client.close();
    await deleteVch(admin, other, { force: true }, () => undefined);
    expect(await networks(admin)).toEqual(['VM Network', 'mine-bridge', 'theirs-bridge']);
    const kept = await readFile(join(hostd.paths.stateDir, 'inventory.json'), 'utf8');
    expect(kept).not.toContain('other-');
  });

  it('cannot lie in wait for the next virtual container host', async () => {
    await add(mine.client, 'next-bridge');
    await expect(makeVch(hostd, admin, 'next', 'next')).rejects.toThrow(/another virtual container host's/);
    await remove(mine.client, 'next-bridge');
  });
});

describe('an endpoint VM', () => {
  it('gets and loses cards while it runs, together with the key in which it keeps its networks', async () => {
    const key = (...names: string[]) => ({
      key: 'caisson.networks',
      value: JSON.stringify(names.map((portGroup) => ({ portGroup }))),
    });
    // The pretended VMs have not survived the restart.
    await admin.runTask('PowerOnVM_Task', mine.endpoint, {});
    for (const name of ['mine-a', 'mine-b']) await add(mine.client, name);
    await reconfigure(mine, [card('mine-a')], [key('mine-a')]);
    await reconfigure(mine, [card('mine-b')], [key('mine-a', 'mine-b')]);
    expect(await has(mine)).toEqual({
      cards: ['4000 mine-bridge', '4001 mine-a', '4002 mine-b'],
      kept: key('mine-a', 'mine-b').value,
    });
    await expect(remove(mine.client, 'mine-a')).rejects.toMatchObject(fails('ResourceInUse'));
    await reconfigure(mine, [unplug(4001)], [key('mine-b')]);
    expect(await has(mine)).toEqual({ cards: ['4000 mine-bridge', '4002 mine-b'], kept: key('mine-b').value });
    expect(
      hostd.runtime.plugged.map(({ name, operation, device }) => `${name} ${operation} ${JSON.stringify(device)}`),
    ).toEqual([
      expect.stringMatching(/^mine plug .*"index":1.*"portGroup":"mine-a"/),
      expect.stringMatching(/^mine plug .*"index":2.*"portGroup":"mine-b"/),
      expect.stringMatching(/^mine unplug .*"index":1.*"portGroup":"mine-a"/),
    ]);
    // Both or none.
    hostd.runtime.refusePlug = () => {
      throw new Error('there is no card to be had');
    };
    await expect(reconfigure(mine, [card('mine-a')], [key('mine-a', 'mine-b')])).rejects.toThrow(
      'there is no card to be had',
    );
    hostd.runtime.refusePlug = () => undefined;
    expect(await has(mine)).toEqual({ cards: ['4000 mine-bridge', '4002 mine-b'], kept: key('mine-b').value });
  });

  it('says how its own port groups are treated, also after a restart of hostd', async () => {
    const value = JSON.stringify([
      { portGroup: 'mine-a', icc: false, mtu: 9000, more: 'of the endpoint' },
      { portGroup: 'mine-b', icc: true, mtu: 0 },
      { portGroup: 'mine-bridge', icc: false },
      { portGroup: 'theirs-bridge', icc: false, mtu: 68 },
    ]);
    treated.length = 0;
    await reconfigure(mine, [], [{ key: 'caisson.networks', value }]);
    expect(treated).toEqual(['mine-a isolated 9000']);
    await hostd.restart();
    for (const one of [mine, theirs]) one.client = await VimClient.connect(one.config.target);
    admin = await VimClient.connect(hostd);
    await admin.runTask('PowerOnVM_Task', mine.endpoint, {});
    expect(treated).toEqual(['mine-a isolated 9000', 'mine-a isolated 9000']);
    for (const bad of ['x', '{}', '[{}]', '[{"portGroup":"mine-a","mtu":70000}]', '[{"portGroup":"mine-a","icc":1}]'])
      await expect(reconfigure(mine, [], [{ key: 'caisson.networks', value: bad }])).rejects.toMatchObject(
        fails('InvalidArgument'),
      );
    await reconfigure(mine, [], [{ key: 'caisson.networks', value: '[]' }]);
    expect(treated.slice(2)).toEqual(['mine-a open 1500']);
  });

  it('may have 200 cards, any other VM ten', async () => {
    const many = Array.from({ length: 200 }, (_, at) => card('mine-bridge', { key: -1 - at }));
    await reconfigure(mine, many);
    const { cards } = await has(mine);
    expect(cards).toHaveLength(202);
    await reconfigure(
      mine,
      cards.filter((one) => /^4(?!000).* mine-bridge$/.test(one)).map((one) => unplug(Number(one.split(' ')[0]))),
    );
    const machine = { client: mine.client, endpoint: mine.machine };
    await expect(reconfigure(machine, many.slice(0, 10))).rejects.toThrow('at most 10 cards');
    await reconfigure(machine, many.slice(0, 9));
  });

  it('changes in no other way by its own login', async () => {
    const before = await has(mine);
    const refused = (call: Promise<unknown>) => expect(call).rejects.toMatchObject(fails('NoPermission'));
    for (const key of ['caisson.scope', 'caisson.vch', 'caisson.appliance', 'guestinfo.caisson.vch', 'new'])
      await refused(reconfigure(mine, [], [{ key, value: 'x' }]));
    for (const spec of [{ annotation: 'x' }, { name: 'x' }, { numCPUs: 2 }, { guestId: 'x' }])
      await refused(mine.client.runTask('ReconfigVM_Task', mine.endpoint, { spec: spec as never }));
    const scsi = { $type: 'ParaVirtualSCSIController', key: -5, busNumber: 0, sharedBus: 'noSharing' };
    await refused(reconfigure(mine, [{ operation: 'add', device: scsi }]));
    await refused(reconfigure(mine, [{ ...card('mine-a'), operation: 'edit' }]));
    await expect(reconfigure(mine, [card('theirs-bridge')])).rejects.toMatchObject(fails('InvalidDeviceBacking'));
    await expect(reconfigure(mine, [card('VM Network')])).rejects.toMatchObject(fails('InvalidDeviceBacking'));
    await refused(reconfigure({ client: mine.client, endpoint: theirs.endpoint }, [card('mine-a')]));
    expect(await has(mine)).toEqual(before);
    // Its own containers' machines are as they were.
    await reconfigure({ client: mine.client, endpoint: mine.machine }, [], [{ key: 'caisson.run', value: '1' }]);
  });
});

it("a VM's cards on a container network are trusted as an administrator says, with the ports that its host says", async () => {
  const [vm] = await admin.retrieve([mine.machine], 'VirtualMachine', ['config.hardware', 'name']);
  const [mac] = (vm!.props['config.hardware']?.device ?? []).flatMap(({ key, ...rest }) =>
    key === 4000 ? [(rest as { macAddress?: string }).macAddress] : [],
  );
  const network = { name: 'ext', portGroup: 'mine-bridge', gateway: '192.0.2.1/24', ipRanges: [], dns: [] };
  const trusted = (trust: string): Promise<unknown> =>
    reconfigure(
      { client: admin, endpoint: mine.endpoint },
      [],
      [
        {
          key: 'guestinfo.caisson.vch',
          value: JSON.stringify({ ...mine.config, containerNetworks: [{ ...network, trust }] }),
        },
      ],
    );
  await trusted('published');
  const ports = `${mac}=80/tcp,8000-8010/udp,99999/tcp,nonsense`;
  await reconfigure({ client: mine.client, endpoint: mine.machine }, [], [{ key: 'caisson.trust', value: ports }]);
  await mine.client.runTask('PowerOnVM_Task', mine.machine, {});
  const card = hostd.runtime.guests.get(vm!.props.name!)?.vm.nics[0];
  const expected = {
    level: 'published',
    peers: ['192.0.2.0/24'],
    dynamic: false,
    ports: [
      { protocol: 'tcp', first: 80, last: 80 },
      { protocol: 'udp', first: 8000, last: 8010 },
    ],
  };
  expect(card?.trust).toEqual(expected);
  treated.length = 0;
  await trusted('closed');
  expect(treated).toContainEqual(
    expect.stringContaining(`${mine.machine.value} ${JSON.stringify({ ...expected, level: 'closed' }).slice(0, 20)}`),
  );
  // Its own host cannot trust it more.
  await expect(
    reconfigure(mine, [], [{ key: 'guestinfo.caisson.vch', value: JSON.stringify(mine.config) }]),
  ).rejects.toMatchObject(fails('NoPermission'));
  await mine.client.runTask('PowerOffVM_Task', mine.machine, {});
});

it('a host of an earlier version gets these rights', async () => {
  const { user } = theirs.config.target;
  const manager = admin.serviceContent.authorizationManager!;
  for (const entity of [{ type: 'HostSystem', value: 'ha-host' }, theirs.endpoint])
    await admin.call('SetEntityPermissions', manager, {
      entity,
      permission: [{ entity, principal: user, group: false, roleId: -2, propagate: false }],
    });
  await expect(add(theirs.client, 'theirs-a')).rejects.toMatchObject(fails('NoPermission'));
  const { url, password, thumbprint } = hostd;
  await separateLogin(admin, theirs, { url, user: hostd.user, password, thumbprint });
  await add(theirs.client, 'theirs-a');
  await reconfigure(theirs, [card('theirs-a')], [{ key: 'caisson.networks', value: '[]' }]);
  expect((await has(theirs)).cards).toEqual(['4000 theirs-bridge', '4001 theirs-a']);
});

it('an administrator of networks who is no virtual container host keeps the rights of one', async () => {
  const manager = admin.serviceContent.authorizationManager!;
  await admin.call('CreateUser', admin.serviceContent.accountManager!, {
    user: { $type: 'HostPosixAccountSpec', id: 'networker', password: 'Long-enough.1', shellAccess: false },
  });
  const roleId = await admin.call('AddAuthorizationRole', manager, { name: 'net', privIds: ['Host.Config.Network'] });
  const grant = (entity: ManagedObjectReference, propagate: boolean): Promise<unknown> =>
    admin.call('SetEntityPermissions', manager, {
      entity,
      permission: [{ entity, principal: 'networker', group: false, roleId, propagate }],
    });
  await grant({ type: 'HostSystem', value: 'ha-host' }, false);
  const client = await VimClient.connect({ ...hostd, user: 'networker', password: 'Long-enough.1' });
  await expect(add(client, 'nets')).rejects.toMatchObject(fails('NoPermission'));
  await grant(admin.serviceContent.rootFolder, true);
  await add(client, 'nets');
  await remove(client, 'nets');
  await client.close();
});
