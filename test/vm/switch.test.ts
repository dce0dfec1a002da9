import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RuntimeNic } from '../../src/hostd/runtime.js';
import { VirtualSwitch } from '../../src/hostd/switch/virtual-switch.js';

const INSTANCE = `swtest${process.pid % 10_000}`;
const network = new VirtualSwitch(INSTANCE);
const inside = (namespace: string, program: string, ...args: string[]): string =>
  execFileSync('nsenter', [`--net=/run/netns/${namespace}`, '--', program, ...args], { encoding: 'utf8' });
const run = (program: string, ...args: string[]): string => inside(network.namespace, program, ...args);
const card = (index: number, mac: string, addresses?: string[]): RuntimeNic => ({
  index,
  mac,
  portGroup: 'net',
  connected: true,
  addresses,
});
const sets = (): string => run('nft', 'list', 'table', 'bridge', 'caisson');
const link = (name: string) =>
  (JSON.parse(run('ip', '-d', '-json', 'link', 'show', name)) as Record<string, unknown>[])[0]!;
/** The bridge's settings for it. */
const treatment = (name: string) =>
  (link(name).linkinfo as { info_slave_data: Record<string, unknown> }).info_slave_data;

beforeAll(async () => {
  await network.open();
  await network.addPortGroup('net');
});

afterAll(() => network.remove());

describe('the virtual switch, as ip, bridge and nft see it', () => {
  it('plugs a card in, whether it comes from the warm pool or is new', async () => {
    const endpoint = [card(0, '00:50:56:00:00:01', ['172.16.0.1'])];
    await network.connectEndpoint('vm-1', endpoint);
    await network.plug('vm-2', [card(0, '00:50:56:00:00:02', ['172.16.0.2', 'fd00::2'])]);
    await network.plugSpare('vm-pool1', [0]);
    expect(link('tpool1n0')).toMatchObject({ operstate: 'DOWN' });
    await network.handOver('vm-pool1', 'vm-3', [card(0, '00:50:56:00:00:03', ['172.16.0.3'])]);
    for (const [name, mac] of [
      ['t1n0', '00:50:56:00:00:01'],
      ['t2n0', '00:50:56:00:00:02'],
      ['t3n0', '00:50:56:00:00:03'],
    ] as const) {
      expect(link(name).flags).toContain('UP');
      expect(treatment(name)).toMatchObject({ learning: false, flood: false });
      const entries = JSON.parse(run('bridge', '-json', 'fdb', 'show', 'dev', name)) as Record<string, unknown>[];
      expect(entries).toContainEqual(expect.objectContaining({ mac, state: 'static' }));
    }
    if (existsSync('/proc/sys/net/ipv6')) expect(link('t2n0')).toMatchObject({ inet6_addr_gen_mode: 'none' });
    expect(run('ip', 'link')).not.toContain('tpool1n0');
    const known = inside(`${network.namespace}-vm-1`, 'ip', 'neigh', 'show', 'nud', 'permanent');
    for (const line of ['172.16.0.2 dev eth0 lladdr 00:50:56:00:00:02', 'fd00::2 dev eth0', '172.16.0.3 dev eth0'])
      expect(known).toContain(line);
  });

  it('writes the allowed senders exactly as nft would', async () => {
    const before = sets();
    for (const element of [
      '"t2n0" . 00:50:56:00:00:02',
      '"t2n0" . 172.16.0.2',
      '"t2n0" . fd00::2',
      '"t3n0" . fe80::250:56ff:fe00:3',
    ])
      expect(before).toContain(element);
    // What nft adds already exists: the elements are identical.
    run(
      'nft',
      'add element bridge caisson macs { "t2n0" . 00:50:56:00:00:02 }; ' +
        'add element bridge caisson addresses4 { "t2n0" . 172.16.0.2 }; ' +
        'add element bridge caisson addresses6 { "t2n0" . fd00::2 }; ' +
        'add element bridge caisson targets6 { "t2n0" . 0xfd000000000000000000000000000002 }',
    );
    expect(sets()).toBe(before);
    await network.allow('vm-2', [card(0, '00:50:56:00:00:02', ['172.16.0.9'])]);
    expect(sets()).toContain('"t2n0" . 172.16.0.9');
    expect(sets()).not.toMatch(/"t2n0" \. (172\.16\.0\.2|fd00::2)\b/);
    await network.setPolicy('net', { allowPromiscuous: false, macChanges: true, forgedTransmits: true });
    expect(sets()).toMatch(/set unchecked \{[^}]*"t2n0"[^}]*\}/);
    expect(treatment('t2n0')).toMatchObject({ learning: true, flood: true });
  });

  it('gives a running endpoint cards and takes them away, whatever a killed host left', async () => {
    const MACS = ['00:50:56:00:01:00', '00:50:56:00:01:01', '00:50:56:00:01:02', '00:50:56:00:01:03'] as const;
    const cards = MACS.map((mac, index) => ({ ...card(index, mac), portGroup: index === 0 ? 'net' : `net${index}` }));
    for (const index of [1, 2, 3]) await network.addPortGroup(`net${index}`);
    const inner = `${network.namespace}-vm-7`;
    const there = (): Record<string, string> =>
      Object.fromEntries(
        (JSON.parse(inside(inner, 'ip', '-json', 'link')) as { ifname: string; address: string; flags: string[] }[])
          .filter(({ ifname, flags }) => ifname.startsWith('eth') && flags.includes('UP'))
          .map(({ ifname, address }) => [ifname, address]),
      );
    const neighbours = (): string => inside(inner, 'ip', 'neigh', 'show', 'nud', 'permanent');
    await network.connectEndpoint('vm-7', [cards[0]!]);
    await network.plug('vm-8', [{ ...card(0, '00:50:56:00:00:08', ['10.2.0.8']), portGroup: 'net2' }]);
    await network.plugEndpointCard('vm-7', cards[1]!);
    await network.plugEndpointCard('vm-7', cards[2]!);
    expect(there()).toEqual({ eth0: MACS[0], eth1: MACS[1], eth2: MACS[2] });
    expect(neighbours()).toContain('10.2.0.8 dev eth2 lladdr 00:50:56:00:00:08');
    await network.plug('vm-9', [{ ...card(0, '00:50:56:00:00:09', ['10.2.0.9']), portGroup: 'net2' }]);
    expect(neighbours()).toContain('10.2.0.9 dev eth2');
    expect(sets()).toMatch(/"t7n2" \. 00:50:56:00:01:02/);
    expect(treatment('t7n2')).toMatchObject({ learning: false, flood: false });
    // A new card is as deaf as the first: nobody else tells it of routes.
    for (const name of ['ipv6/conf/eth2/accept_ra', 'ipv4/conf/eth2/accept_redirects'])
      expect(inside(inner, 'cat', `/proc/sys/net/${name}`).trim()).toBe('0');
    network.unplugEndpointCard('vm-7', cards[1]!);
    network.unplugEndpointCard('vm-7', cards[1]!);
    // Nobody waits for the kernel, but the number of a card that is leaving can be used again at once.
    await network.plugEndpointCard('vm-7', cards[1]!);
    expect(there()).toEqual({ eth0: MACS[0], eth1: MACS[1], eth2: MACS[2] });
    network.unplugEndpointCard('vm-7', cards[1]!);
    await expect.poll(there).toEqual({ eth0: MACS[0], eth2: MACS[2] });
    await expect.poll(sets).not.toContain('"t7n1"');
    await expect(network.plugEndpointCard('vm-7', { ...cards[3]!, portGroup: 'none' })).rejects.toThrow(
      "there is no port group 'none'",
    );
    // A host that was killed: it had made eth1 and one end of eth3, and removed eth2.
    await network.plugEndpointCard('vm-7', cards[1]!);
    network.unplugEndpointCard('vm-7', cards[2]!);
    await expect.poll(there).not.toHaveProperty('eth2');
    run('ip', 'link', 'add', 't7n3', 'type', 'veth', 'peer', 'name', 'half');
    const next = new VirtualSwitch(INSTANCE);
    for (const name of ['net', 'net2', 'net3']) await next.addPortGroup(name);
    // It was also about to remove the bridge of net1.
    const bridges = (): string[] => run('ip', '-o', 'link').match(/br[0-9a-f]{10}(?=:)/g) ?? [];
    expect(bridges()).toHaveLength(4);
    await next.removeSpareBridges();
    await expect.poll(bridges).toHaveLength(3);
    await next.adopt('vm-8', [{ ...card(0, '00:50:56:00:00:08', ['10.2.0.8']), portGroup: 'net2' }]);
    expect(await next.adoptEndpoint('vm-7', [cards[0]!, cards[2]!, cards[3]!])).toBe(`/run/netns/${inner}`);
    expect(there()).toEqual({ eth0: MACS[0], eth2: MACS[2], eth3: MACS[3] });
    expect(neighbours()).toContain('10.2.0.8 dev eth2 lladdr 00:50:56:00:00:08');
    await next.disconnectEndpoint('vm-7');
    expect(run('ip', '-o', 'link')).not.toMatch(/ t7n|half/);
    expect(existsSync(`/run/netns/${inner}`)).toBe(false);
    for (const moid of ['vm-8', 'vm-9']) await network.unplug(moid);
    await next.unplug('vm-8');
    await network.removePortGroup('net1');
    await network.addPortGroup('net1');
    expect(bridges()).toHaveLength(4);
  });

  it('gives an endpoint 200 cards at once', async () => {
    const cards = Array.from({ length: 200 }, (_, index) => ({
      ...card(index, `00:50:56:00:02:${index.toString(16).padStart(2, '0')}`),
      portGroup: index === 0 ? 'net' : 'net1',
    }));
    const began = Date.now();
    await network.connectEndpoint('vm-10', cards);
    console.log(`200 cards after ${Date.now() - began} ms`);
    const links = JSON.parse(inside(`${network.namespace}-vm-10`, 'ip', '-json', 'link')) as { ifname: string }[];
    expect(links.filter(({ ifname }) => ifname.startsWith('eth'))).toHaveLength(200);
    await network.disconnectEndpoint('vm-10');
  });

  it('plugs a card in despite leftovers of an earlier host, and leaves nothing behind', async () => {
    run('ip', 'tuntap', 'add', 'dev', 't4n0', 'mode', 'tap');
    await network.plug('vm-4', [card(0, '00:50:56:00:00:04', ['172.16.0.4'])]);
    expect(link('t4n0')).toHaveProperty('master');
    await expect(network.plug('vm-5', [{ ...card(0, '00:50:56:00:00:05'), portGroup: 'other' }])).rejects.toThrow(
      "there is no port group 'other'",
    );
    await expect(network.handOver('vm-pool9', 'vm-6', [card(0, '00:50:56:00:00:06')])).rejects.toThrow('ENODEV');
    for (const moid of ['vm-2', 'vm-3', 'vm-4', 'vm-6']) await network.unplug(moid);
    expect(run('ip', '-o', 'link')).not.toMatch(/ t[2-6]n0/);
    await expect.poll(sets).not.toMatch(/"t[2-6]n0"/);
  });
});
