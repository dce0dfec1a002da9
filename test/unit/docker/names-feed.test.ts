import { describe, expect, it } from 'vitest';
import { hasNames, NamesFeed } from '../../../appliance/docker/networks/names-feed.js';
import { type NamedNetwork, namesNetwork } from '../../../appliance/docker/networks/names-table.js';
import { wayTo } from '../../../appliance/docker/networks/own-servers.js';
import type { AddressPort, NamesChange } from '../../../appliance/gateway/index.js';
import { type ContainerInfo, type ContainerSpec, wholeEndpoint } from '../../../port-layer/index.js';

const network = (name: string, subnet: string, more: Partial<NamedNetwork> = {}): NamedNetwork => ({
  id: `${name}-id`,
  name,
  kind: 'bridge',
  predefined: name === 'bridge',
  internal: false,
  egress: 'relay',
  pools: [{ subnet, gateway: subnet.replace(/0\/\d+$/, '1'), aux: {} }],
  ...more,
});
const FRONT = network('front', '10.1.0.0/16');
const BRIDGE = network('bridge', '10.0.0.0/16');

/** A container that runs on `front`, as far as names go. */
function container(name: string, address: string, spec: Partial<ContainerSpec> = {}): ContainerInfo {
  const id = name.padEnd(64, '0');
  const endpoints = [wholeEndpoint({ network: 'front', networkId: 'front-id', address, aliases: ['same'] })];
  const wish = { network: 'front', networkId: 'front-id', aliases: ['same'], links: ['other:site'] };
  return {
    spec: { id, name, hostname: '', dns: null, networks: [wish], ...spec },
    endpoints,
  } as unknown as ContainerInfo;
}

/** A feed to a gateway that writes down what it is told. */
function feed(containers: ContainerInfo[]) {
  const told: NamesChange[] = [];
  const forwards: string[] = [];
  const world = { containers, fails: false, servers: [{ address: '127.0.0.1', port: 5300 }] as AddressPort[] };
  let id = 0;
  const names = new NamesFeed({
    gateway: {
      names: async (change) => {
        if (world.fails) throw new Error('not ready');
        told.push(change);
      },
      forward: async (_id, protocol, inner, outer) => {
        forwards.push(`${protocol} ${outer.address}`);
        return inner.port || 40_000 + forwards.length;
      },
      close: (closed) => void forwards.push(`close ${closed}`),
    },
    exec: { list: () => world.containers },
    networks: () => [BRIDGE, FRONT],
    servers: () => world.servers,
    nextId: () => ++id,
  });
  return { names, told, forwards, world };
}

describe('the server of names', () => {
  it('is told everything first, then what is different, and nothing when nothing is', async () => {
    const { names, told, world } = feed([container('one', '10.1.0.2')]);
    await names.follow();
    await names.follow();
    expect(told).toEqual([
      {
        whole: true,
        networks: [
          { id: 'bridge-id', name: 'bridge', named: false, forwards: true },
          { id: 'front-id', name: 'front', named: true, forwards: true },
        ],
        servers: [{ address: '127.0.0.1', port: 5300 }],
        containers: [
          {
            id: 'one'.padEnd(64, '0'),
            members: [
              {
                network: 'front-id',
                addresses: ['10.1.0.2'],
                names: ['one', 'same', 'one000000000'],
                links: [['site', 'other']],
              },
            ],
            servers: null,
            lookups: null,
          },
        ],
        gone: [],
        reported: [],
      },
    ]);
    world.containers = [container('two', '10.1.0.3', { hostname: 'host' })];
    await names.follow();
    expect(told[1]).toMatchObject({
      whole: false,
      networks: null,
      servers: null,
      reported: null,
      gone: ['one'.padEnd(64, '0')],
      containers: [{ members: [{ names: ['two', 'same', 'two000000000', 'host'] }] }],
    });
    world.servers = [];
    await names.follow();
    expect(told[2]).toMatchObject({ servers: [], containers: [], gone: [] });
  });

  it('is told everything when it was started again, and after it could not be told', async () => {
    const { names, told, world } = feed([container('one', '10.1.0.2')]);
    world.fails = true;
    await names.follow();
    world.fails = false;
    await names.again();
    await names.again();
    expect(told.map(({ whole }) => whole)).toEqual([true, true]);
  });

  it('sees what happened until a step begins, in one step', async () => {
    const { names, told, world } = feed([]);
    const first = names.follow();
    world.containers = [container('one', '10.1.0.2')];
    await Promise.all([first, names.follow(), names.follow()]);
    expect(told).toHaveLength(1);
    expect(told[0]!.containers).toHaveLength(1);
  });

  it('is told of names to report', async () => {
    const { names, told } = feed([]);
    await names.follow();
    await names.report(['*.example.com']);
    expect(told[1]).toMatchObject({ reported: ['*.example.com'], networks: null });
  });

  it('is told what each container may look up: nothing where a policy does not know the container', async () => {
    const { names, told } = feed([container('one', '10.1.0.2'), container('two', '10.1.0.3')]);
    await names.restrict(new Map([['one'.padEnd(64, '0'), ['example.org']]]));
    await names.restrict(null);
    expect(told.map(({ containers }) => containers.map(({ lookups }) => lookups))).toEqual([
      [['example.org'], []],
      [null, null],
    ]);
  });

  it('leaves all other names to a container that has a server of its own on its loopback', async () => {
    const dns = { servers: ['9.9.9.9', '127.0.0.1'], search: [], options: [] };
    const { names, told, forwards } = feed([container('one', '10.1.0.2', { dns })]);
    await names.follow();
    expect([told[0]!.containers[0]!.servers, forwards]).toEqual([[], []]);
  });

  it('reaches a container’s own servers by forwards, as long as somebody wants them', async () => {
    const dns = { servers: ['9.9.9.9', '127.0.0.11', '10.1.0.7', '10.1.0.1'], search: [], options: [] };
    const { names, told, forwards, world } = feed([container('one', '10.1.0.2', { dns })]);
    await names.follow();
    expect(told[0]!.containers[0]!.servers).toEqual([
      { address: '127.0.0.1', port: 40_001 },
      { address: '10.1.0.7', port: 53 },
    ]);
    expect(forwards).toEqual(['udp 9.9.9.9', 'tcp 9.9.9.9']);
    await names.forwardAgain();
    expect(forwards).toHaveLength(4);
    world.containers = [];
    await names.follow();
    expect(forwards.slice(4)).toEqual(['close 3', 'close 4']);
  });
});

it.each([
  ['9.9.9.9', { kind: 'forward' }],
  ['2606:4700::1111', { kind: 'forward' }],
  ['127.0.0.1', { kind: 'inside' }],
  ['::1', { kind: 'inside' }],
  ['127.0.0.11', { kind: 'none' }],
  ['0.0.0.0', { kind: 'none' }],
  ['10.1.0.1', { kind: 'none' }],
  ['10.0.0.1', { kind: 'none' }],
  ['10.1.0.9', { kind: 'direct', server: { address: '10.1.0.9', port: 53 } }],
])('the way to %s', (address, way) => {
  expect(wayTo(address, [FRONT], new Set(['10.1.0.1', '10.0.0.1']))).toEqual(way);
});

it('a network without a way out forwards nothing, and the default one has no names', () => {
  const of = (more: Partial<NamedNetwork>): object => namesNetwork({ ...FRONT, ...more });
  expect(of({ internal: true })).toMatchObject({ named: true, forwards: false });
  expect(of({ egress: 'none' })).toMatchObject({ named: true, forwards: false });
  expect(namesNetwork(BRIDGE)).toMatchObject({ named: false, forwards: true });
  const on = (...names: string[]): boolean =>
    hasNames({ spec: { networks: names.map((one) => ({ network: one, aliases: [] })) } as unknown as ContainerSpec });
  expect([on(), on('bridge'), on('default'), on('bridge', 'front')]).toEqual([false, false, false, true]);
});
