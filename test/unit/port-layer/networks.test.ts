/** Containers on several networks: the configuration, the addresses, and the settings of the VM and its guest. */
import { describe, expect, it } from 'vitest';
import { gatewayNetworks } from '../../../appliance/gateway/gateway-networks.js';
import { vchConfigSchema } from '../../../port-layer/config.js';
import type { ContainerSpec } from '../../../port-layer/exec/container-spec.js';
import { interfaceNames, programSpec } from '../../../port-layer/exec/program-spec.js';
import { addressesValue, containerVmSpec } from '../../../port-layer/exec/vm-spec.js';
import { cardsFor, cardsOf, mainEndpoint } from '../../../port-layer/network/endpoints.js';
import { Networks } from '../../../port-layer/network/networks.js';
import { backingOf } from '../../../src/vim25/index.js';
import { sayingAsDocker } from '../../support/docker-words.js';
import { containerSpec } from '../../support/specs.js';
import { VCH_CONFIG } from '../../support/vch-config.js';

const FRONT = { name: 'bridge', portGroup: 'front', subnet: '172.16.0.0/16' };
const BACK = { name: 'back', portGroup: 'back group', subnet: '10.1.2.0/29' };
const COMMON = { ...VCH_CONFIG, channelDir: '/run/x' };
const CONFIG = vchConfigSchema.parse({ ...COMMON, networks: [FRONT, BACK] });
const MACS = ['00:0c:29:00:00:01', '00:0c:29:00:00:02'];

const on = (id: string, ...networks: string[]): ContainerSpec =>
  containerSpec(id, { networks: networks.map((network) => ({ network, aliases: [] })) });

const networks = (): Networks => new Networks(CONFIG, { all: () => [] });

describe('the configuration', () => {
  it('of an earlier version has one network, called bridge', () => {
    const { portGroup, subnet } = FRONT;
    const read = vchConfigSchema.parse({ ...COMMON, bridge: { portGroup, subnet } });
    expect(read).toEqual({ ...COMMON, networks: [FRONT] });
  });

  it.each([
    ['no network', []],
    ['a name twice', [FRONT, { ...BACK, name: 'bridge' }]],
    ['a port group twice', [FRONT, { ...BACK, portGroup: 'front' }]],
    ['a subnet twice', [FRONT, { ...BACK, subnet: FRONT.subnet }]],
  ])('is refused with %s', (_, list) => {
    expect(vchConfigSchema.safeParse({ ...COMMON, networks: list }).success).toBe(false);
  });

  it('gives the gateway a card and an address on each network', () => {
    expect(gatewayNetworks(networks().list())).toEqual([
      { interface: 'eth0', address: '172.16.0.1/16' },
      { interface: 'eth1', address: '10.1.2.1/29' },
    ]);
  });
});

describe('addresses', () => {
  it('are allocated on each network, to the cards in the order of the networks', () => {
    const endpoints = networks().places.bind(on('a', 'back', 'bridge'), MACS);
    expect(endpoints).toMatchObject([
      { network: 'back', mac: MACS[0], address: '10.1.2.2', prefixLength: 29, gateway: '10.1.2.1' },
      { network: 'bridge', mac: MACS[1], address: '172.16.0.2', prefixLength: 16, gateway: '172.16.0.1' },
    ]);
    expect(new Set(endpoints.flatMap(({ networkId, endpointId }) => [networkId, endpointId])).size).toBe(4);
  });

  it('are released on all networks', () => {
    const all = networks();
    const take = (id: string) => all.places.bind(on(id, 'bridge', 'back'), MACS);
    const taken = ['a', 'b', 'c', 'd', 'e'].map(take);
    expect(sayingAsDocker(() => take('f'))).toThrow('no available IPv4 addresses');
    // Its address on the other network had been allocated by then.
    all.places.release('f');
    all.places.release('a');
    expect(take('g')[1]?.address).toBe(taken[0]![1]!.address);
  });

  it('of a running container are claimed on each network, independently of the others', () => {
    const all = networks();
    const found = networks().places.bind(on('a', 'bridge', 'back'), MACS);
    all.places.claim(on('x'), [found[0]!]);
    expect(
      sayingAsDocker(() => all.places.claim(on('a'), [{ ...found[1]!, network: 'gone', networkId: '' }, ...found])),
    ).toThrow('network gone not found');
    expect(sayingAsDocker(() => all.places.claim(on('y'), [found[1]!]))).toThrow('Address already in use');
    expect(sayingAsDocker(() => all.places.claim(on('y'), [found[0]!]))).toThrow('Address already in use');
  });

  it('are allocated on no network when one does not exist', () => {
    const all = networks();
    expect(sayingAsDocker(() => all.places.bind(on('a', 'bridge', 'nosuch'), MACS))).toThrow(
      'network nosuch not found',
    );
    expect(all.places.bind(on('b', 'bridge'), MACS)[0]?.address).toBe('172.16.0.2');
  });

  it('are not given twice on one network, nor on more networks than a VM can have cards', () => {
    expect(sayingAsDocker(() => networks().places.settle(on('a', 'back', 'bridge', 'back')))).toThrow(
      'network back is given twice',
    );
    const many = Array.from({ length: 11 }, (_, n) => `n${n}`);
    expect(sayingAsDocker(() => networks().places.settle(on('a', ...many)))).toThrow('more than 10 networks');
    expect(() => networks().places.settle(on('a', ...many.slice(1)))).not.toThrow();
  });
});

it('finds networks by name or id prefix, names first', () => {
  const all = networks();
  const [bridge, back] = all.list();
  expect([bridge?.name, back?.name]).toEqual(['bridge', 'back']);
  for (const reference of ['bridge', 'default', bridge!.id, bridge!.id.slice(0, 12)])
    expect(all.resolve(reference).id).toBe(bridge!.id);
  expect(all.resolve('back').portGroup).toBe('back group');
  expect(sayingAsDocker(() => all.resolve('bac'))).toThrow('network bac not found');
});

it('lists the containers of each network', () => {
  const shown = new Networks(CONFIG, {
    all: () =>
      [
        {
          id: 'a',
          running: true,
          spec: { name: 'n' },
          endpoints: networks().places.bind(on('a', 'back', 'bridge'), MACS),
        },
      ] as never,
  }).list();
  expect(shown.map(({ endpoints }) => endpoints.map(({ mac, containerName }) => [mac, containerName]))).toEqual([
    [[MACS[1], 'n']],
    [[MACS[0], 'n']],
  ]);
});

describe('a VM on two networks', () => {
  const spec = on('a', 'back', 'bridge');
  const endpoints = networks().places.bind(spec, MACS);

  it('has a card on each port group', () => {
    const cards = containerVmSpec(CONFIG, spec, 'parent.vmdk', (wish) =>
      networks().places.attachmentOf(wish),
    ).deviceChange!.map(({ device }) => device);
    const groups = cards.flatMap((device) =>
      device.$type === 'VirtualVmxnet3' ? [(device.backing as { deviceName: string }).deviceName] : [],
    );
    expect(groups).toEqual(['back group', 'front']);
    expect(new Set(cards.map(({ key }) => key)).size).toBe(cards.length);
  });

  it('has distinct keys for all devices, on the largest number of networks', () => {
    const many = on('a', ...Array.from({ length: 10 }, (_, n) => `n${n}`));
    const keys = containerVmSpec(CONFIG, many, 'parent.vmdk', () => ({ portGroup: 'front' })).deviceChange!.map(
      ({ device }) => device.key,
    );
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('may send from the address of each card', () => {
    expect(addressesValue(endpoints)).toBe(`${MACS[0]}=10.1.2.2;${MACS[1]}=172.16.0.2`);
    expect(addressesValue([])).toBe('none');
  });

  it('sets up both interfaces, with the default route through the first', () => {
    const { nics, files } = programSpec(spec, endpoints, true);
    expect(nics).toEqual([
      { index: 0, name: 'eth0', mac: MACS[0], address: '10.1.2.2/29', gateway: '10.1.2.1' },
      { index: 1, name: 'eth1', mac: MACS[1], address: '172.16.0.2/16' },
    ]);
    const hosts = files.find(({ path }) => path === '/etc/hosts')!.content;
    expect(String(hosts)).toMatch(/10\.1\.2\.2\th\n172\.16\.0\.2\th\n$/);
  });

  it('publishes its ports at the first address', () => {
    expect(mainEndpoint(endpoints)?.address).toBe('10.1.2.2');
    expect(mainEndpoint([])).toBeUndefined();
    const [first, second] = endpoints;
    expect(mainEndpoint([{ ...first!, address: '' }, second!])?.network).toBe('bridge');
  });
});

describe('the cards of a VM', () => {
  const card = (key: number, mac: string, portGroup: string) => ({ key, mac, portGroup });
  const [first, second] = [card(4000, MACS[0]!, 'front'), card(4001, MACS[1]!, 'back')];

  it('are read from its devices', () => {
    const device = ({ key, mac, portGroup }: typeof first) => ({
      key,
      macAddress: mac,
      backing: { deviceName: portGroup },
    });
    expect(cardsOf([{ key: 1 }, device(first), { key: 2, macAddress: undefined }, device(second)])).toEqual([
      first,
      second,
    ]);
  });

  it('on a distributed switch are known by the key of their port group', () => {
    const port = { portgroupKey: 'dvportgroup-1', switchUuid: '50 2f' };
    const there = { portGroup: 'LAN', distributed: port };
    const made = backingOf(there);
    expect(made).toEqual({ $type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo', port });
    // What a vCenter shows of it has more in it, and no name.
    const shown = { ...made, port: { ...port, portKey: '12', connectionCookie: 3 } };
    const [read] = cardsOf([
      { key: 4000, macAddress: MACS[0], backing: shown },
      { key: 4001, macAddress: MACS[1] },
    ]);
    expect(read).toEqual({ key: 4000, mac: MACS[0], portGroup: '', distributed: port });
    const wanted = [{ portGroup: 'LAN' }, { portGroup: 'renamed since', distributed: port }];
    expect(cardsFor(wanted, [read!, second]).map((one) => one?.key)).toEqual([4001, 4000]);
  });

  it.each([
    ['in the order of the networks', ['front', 'back'], [4000, 4001]],
    ['in another order', ['back', 'front'], [4001, 4000]],
    ['when a network did not exist as its card was made', ['new', 'front'], [4001, 4000]],
    ['when one is missing', ['back', 'front', 'third'], [4001, 4000, undefined]],
  ])('are found by port group, %s', (_, groups, keys) => {
    const wanted = groups.map((portGroup) => ({ portGroup }));
    expect(cardsFor(wanted, [first, second]).map((one) => one?.key)).toEqual(keys);
  });

  it('on one port group are told apart by the address that was asked for', () => {
    const shared = [first, card(4001, MACS[1]!, 'front')];
    const wanted = [{ portGroup: 'front' }, { portGroup: 'front', mac: MACS[0]! }];
    expect(cardsFor(wanted, shared).map((one) => one?.key)).toEqual([4001, 4000]);
  });
});

it('interfaces have the names that were asked for, and otherwise free ones in their order', () => {
  const names = (...asked: (string | undefined)[]): string[] =>
    interfaceNames(asked.map((interfaceName) => (interfaceName === undefined ? {} : { interfaceName })));
  expect(names(undefined, undefined)).toEqual(['eth0', 'eth1']);
  expect(names('web', undefined)).toEqual(['web', 'eth0']);
  expect(names(undefined, 'eth0', undefined)).toEqual(['eth1', 'eth0', 'eth2']);
});
