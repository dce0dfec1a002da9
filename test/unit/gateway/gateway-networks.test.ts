import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { EventBus } from '../../../appliance/docker/events/event-bus.js';
import { Policies, type PoliciesParts } from '../../../appliance/docker/policy/policies.js';
import {
  forwardsOf,
  GatewayNetworks,
  gatewayCard,
  nameServers,
  type ServedNetwork,
} from '../../../appliance/gateway/gateway-networks.js';
import { MachineResolvers, resolversOf } from '../../../appliance/gateway/machine-resolvers.js';
import { counter } from '../../../appliance/gateway/published-ports.js';
import { StartGate } from '../../../port-layer/exec/start-gate.js';

const pool = (subnet: string, gateway: string) => ({ subnet, gateway, aux: {} });
const net = (card: number, more: Partial<ServedNetwork> = {}): ServedNetwork => ({
  interface: `eth${card}`,
  kind: 'bridge',
  pools: [pool(`172.${18 + card}.0.0/16`, `172.${18 + card}.0.1`)],
  egress: 'relay',
  internal: false,
  mtu: 0,
  rate: 0,
  ...more,
});

it.each<[string, Partial<ServedNetwork>, object | null]>([
  ['a plain one', {}, { addresses: ['172.18.0.1/16'], egress: true, internal: false, mtu: 0, rate: 0 }],
  ['with a rate, in bits', { rate: 10_001 }, { rate: 1251 }],
  ['without a way out', { egress: 'none', mtu: 1400 }, { addresses: ['172.18.0.1/16'], egress: false, mtu: 1400 }],
  ['an internal one', { internal: true }, { egress: false, internal: true }],
  [
    'with IPv6',
    { pools: [pool('10.0.0.0/24', '10.0.0.9'), pool('fd00::/64', 'fd00::1')] },
    { addresses: ['10.0.0.9/24', 'fd00::1/64'] },
  ],
  ['without a gateway', { pools: [pool('10.0.0.0/24', '')] }, null],
  ['a vSphere network, whose gateway is somebody else', { kind: 'external' }, null],
  ['without a card', { interface: '' }, null],
])('the card of a network: %s', (_, more, card) => {
  if (card === null) expect(gatewayCard(net(0, more))).toBeNull();
  else expect(gatewayCard(net(0, more))).toMatchObject({ interface: 'eth0', ...card });
});

it('forwards name servers on the loopback, and listed ports on the gateway of each network that is not internal', () => {
  const both = net(1, { pools: [pool('10.0.0.0/24', '10.0.0.1'), pool('fd00::/64', 'fd00::1')], egress: 'none' });
  const list = forwardsOf([net(0, { internal: true }), both], [8080], ['127.0.0.53', 'fd00::53']);
  expect(
    list.map(({ protocol, inner, outer }) => [protocol, ...Object.values(inner), ...Object.values(outer)]),
  ).toEqual([
    ['tcp', '127.0.0.1', 5300, '127.0.0.53', 53],
    ['udp', '127.0.0.1', 5300, '127.0.0.53', 53],
    ['tcp', '127.0.0.1', 5301, 'fd00::53', 53],
    ['udp', '127.0.0.1', 5301, 'fd00::53', 53],
    ['tcp', '10.0.0.1', 8080, '127.0.0.1', 8080],
    ['udp', '10.0.0.1', 8080, '127.0.0.1', 8080],
    ['tcp', 'fd00::1', 8080, '127.0.0.1', 8080],
    ['udp', 'fd00::1', 8080, '127.0.0.1', 8080],
  ]);
  expect(nameServers(['a', 'b'])).toEqual([
    { address: '127.0.0.1', port: 5300 },
    { address: '127.0.0.1', port: 5301 },
  ]);
});

let told: string[];
let fails: Set<string>;
beforeEach(() => {
  [told, fails] = [[], new Set()];
});
const tell = async (what: string): Promise<void> => {
  told.push(what);
  if (fails.has(what)) throw new Error('the porter refuses');
};
const gateway = {
  network: (card: { interface: string; addresses: string[] }) => tell(`${card.interface} ${card.addresses.join(' ')}`),
  networkGone: (name: string) => tell(`${name} gone`),
  forward: async (id: number, protocol: string, inner: { address: string; port: number }) => {
    await tell(`${id} ${protocol} ${inner.address} ${inner.port}`);
    return inner.port;
  },
  close: (id: number) => void told.push(`${id} closed`),
};

it('tells the gateway what has changed, no more; and everything after it was started again', async () => {
  let networks = [net(0)];
  const served = new GatewayNetworks(
    gateway,
    { networks: () => networks, hostPorts: [80], resolvers: () => [] },
    counter(),
  );
  const said = async (step: () => Promise<void>): Promise<string[]> => {
    told = [];
    await step();
    return told;
  };
  const follow = (): Promise<string[]> => said(() => served.follow());
  expect(await follow()).toEqual(['eth0 172.18.0.1/16', '1 tcp 172.18.0.1 80', '2 udp 172.18.0.1 80']);
  expect(await follow()).toEqual([]);
  networks = [net(0), net(1)];
  expect(await follow()).toEqual(['eth1 172.19.0.1/16', '3 tcp 172.19.0.1 80', '4 udp 172.19.0.1 80']);
  // Another network has got the card of one that was removed.
  networks = [net(0), net(2, { interface: 'eth1' })];
  expect(await follow()).toEqual([
    ...['3 closed', '4 closed', 'eth1 172.20.0.1/16', '5 tcp 172.20.0.1 80', '6 udp 172.20.0.1 80'],
  ]);
  networks = [net(0)];
  expect(await follow()).toEqual(['5 closed', '6 closed', 'eth1 gone']);
  expect(await said(() => served.again())).toEqual([
    ...['eth0 172.18.0.1/16', '7 tcp 172.18.0.1 80', '8 udp 172.18.0.1 80'],
  ]);
  // What failed is tried again with the next change; the rest is done all the same.
  networks = [net(0), net(1)];
  fails.add('eth1 172.19.0.1/16');
  expect(await follow()).toHaveLength(3);
  fails.clear();
  expect(await follow()).toEqual(['eth1 172.19.0.1/16']);
});

it.each([
  ['nameserver 10.0.0.1\n nameserver\t10.0.0.2 # x\noptions ndots:1\n', ['10.0.0.1', '10.0.0.2']],
  ['nameserver 127.0.0.53\nnameserver 127.0.0.53\n', ['127.0.0.53']],
  ['nameserver fe80::1%eth0\nnameserver nonsense\n#nameserver 1.1.1.1\n', ['127.0.0.1']],
  ['nameserver ::1\n'.concat(...[1, 2, 3].map((i) => `nameserver 10.0.0.${i}\n`)), ['::1', '10.0.0.1', '10.0.0.2']],
  ['', ['127.0.0.1']],
])('the servers of a resolv.conf: %j', (text, servers) => {
  expect(resolversOf(text)).toEqual(servers);
});

it('a container that is about to get an address waits until the gateway serves the networks made before, and for no other', async () => {
  const asked: string[] = [];
  let done = (): void => undefined;
  const list = [net(0)];
  const served = new GatewayNetworks(
    {
      network: async ({ interface: name }) => {
        asked.push(name);
        if (name === 'eth1')
          await new Promise<void>((resolve) => {
            done = resolve;
          });
      },
      networkGone: async () => undefined,
      forward: async () => 0,
      close: () => undefined,
    },
    { networks: () => list, hostPorts: [], resolvers: () => [] },
    counter(),
  );
  await served.follow();
  const gate = new StartGate();
  const policies = new Policies({
    portLayer: {
      exec: { list: () => [] },
      kv: { get: async () => undefined },
      network: { onChange: () => () => undefined },
      startGate: gate,
      onEvent: () => () => undefined,
    } as unknown as PoliciesParts['portLayer'],
    gateway: {
      onNamesAnswer: () => undefined,
      onRefusedLookups: () => undefined,
    } as unknown as PoliciesParts['gateway'],
    events: new EventBus(),
    resolvers: () => [],
    gatewaySettled: () => served.settled(),
    names: { watch: () => undefined, restrict: async () => undefined },
  });
  await policies.open();
  const passes = (): Promise<void> => gate.pass({ info: () => ({ spec: { id: 'c' }, endpoints: [] }) as never }, []);
  await passes();
  list.push(net(1));
  void served.follow();
  let passed = false;
  const starting = passes().then(() => {
    passed = true;
  });
  await expect.poll(() => asked).toEqual(['eth0', 'eth1']);
  expect(passed).toBe(false);
  done();
  await starting;
  policies.close();
});

it("follows the machine's file when it is replaced", async () => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-resolv-'));
  const file = join(directory, 'resolv.conf');
  writeFileSync(file, 'nameserver 10.0.0.1\n');
  let changed = (): void => undefined;
  const change = new Promise<void>((resolve) => {
    changed = resolve;
  });
  const resolvers = new MachineResolvers(() => changed(), file, 20);
  try {
    expect(resolvers.list()).toEqual(['10.0.0.1']);
    writeFileSync(join(directory, 'new'), 'nameserver 10.0.0.2\nnameserver 10.0.0.3\n');
    renameSync(join(directory, 'new'), file);
    await change;
    expect(resolvers.list()).toEqual(['10.0.0.2', '10.0.0.3']);
  } finally {
    resolvers.close();
    rmSync(directory, { recursive: true });
  }
});
