/**
 * Networks are apart, and a gateway says little: frames of hostile guests on the real switch, with guests that are played by a program on
 * their taps. Each attack has its lawful counterpart, which gets through, so that silence means something.
 */
import { execFileSync, spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RuntimeNic } from '../../src/hostd/runtime.js';
import { VirtualSwitch } from '../../src/hostd/switch/virtual-switch.js';
import {
  advertisement,
  arp,
  BROADCAST,
  compileFrames,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  linkLocal,
  routerAdvertisement,
  sentTo,
  solicitation,
  tcpSyn,
  udp,
} from '../support/wire/frames.js';
import { TapGuest } from '../support/wire/tap-guest.js';

const INSTANCE = `apart${process.pid % 10_000}`;
let network = new VirtualSwitch(INSTANCE);
const ALL_NODES = 'ff02::1';
const GATEWAYS = [
  { mac: '02:00:00:00:0a:01', ip: '10.1.0.1', six: 'fd01::1', portGroup: 'a' },
  { mac: '02:00:00:00:0b:01', ip: '10.2.0.1', six: 'fd02::1', portGroup: 'b' },
] as const;
const [GATEWAY, OTHER_GATEWAY] = GATEWAYS;

interface Guest {
  moid: string;
  portGroup: string;
  mac: string;
  ip: string;
  six: string;
}
const guest = (number: number, portGroup: string, prefix: number): Guest => ({
  moid: `vm-${number}`,
  portGroup,
  mac: `02:00:00:00:0${portGroup}:${number.toString(16).padStart(2, '0')}`,
  ip: `10.${prefix}.0.${number}`,
  six: `fd0${prefix}::${number}`,
});
const ATTACKER = guest(11, 'a', 1);
const NEIGHBOUR = guest(12, 'a', 1);
const STRANGER = guest(13, 'b', 2);

let program: Awaited<ReturnType<typeof compileFrames>>;
let attacker: TapGuest;
let neighbour: TapGuest;
let stranger: TapGuest;

const nicOf = ({ mac, portGroup, ip, six }: Guest): RuntimeNic => ({
  index: 0,
  mac,
  portGroup,
  connected: true,
  addresses: [ip, '10.1.0.99', six, 'fd01::99'],
});
const gatewayNics = (): RuntimeNic[] =>
  GATEWAYS.map(({ mac, portGroup }, index) => ({ index, mac, portGroup, connected: true }));
const endpoint = (): string => `/run/netns/${network.namespace}-vm-1`;
const inEndpoint = (...command: string[]): string =>
  execFileSync('nsenter', [`--net=${endpoint()}`, '--', ...command], { encoding: 'utf8' });

async function setUp(): Promise<void> {
  await network.open();
  for (const { portGroup } of GATEWAYS) await network.addPortGroup(portGroup);
}

beforeAll(async () => {
  program = await compileFrames();
  await setUp();
  await network.connectEndpoint('vm-1', gatewayNics());
  for (const [index, { ip, six }] of GATEWAYS.entries())
    for (const address of [`${ip}/24`, `${six}/64`])
      inEndpoint('ip', 'address', 'add', address, 'dev', `eth${index}`, ...(address.includes(':') ? ['nodad'] : []));
  for (const one of [ATTACKER, NEIGHBOUR, STRANGER]) await network.plug(one.moid, [nicOf(one)]);
  [attacker, neighbour, stranger] = (await Promise.all(
    [ATTACKER, NEIGHBOUR, STRANGER].map(({ moid }) => TapGuest.open(program.path, network.path, `t${moid.slice(3)}n0`)),
  )) as [TapGuest, TapGuest, TapGuest];
});

afterAll(async () => {
  for (const one of [attacker, neighbour, stranger]) await one?.close();
  await network.remove();
  program?.remove();
});

const { mac: MAC, ip: IP, six: SIX } = ATTACKER;
const packet = udp(1000, 1000, 'whatever');
const to = (mac: string, target: string): Buffer => ipv4(mac, MAC, IP, target, 17, packet);
const to6 = (mac: string, target: string): Buffer => sentTo(mac, ipv6(MAC, SIX, target, 17, packet));
const echo = (mac: string, target: string): Buffer => ipv4(mac, MAC, IP, target, 1, icmp(8, 0, Buffer.alloc(8)));
const echo6 = (mac: string, target: string): Buffer => sentTo(mac, icmpv6(MAC, SIX, target, 128, Buffer.alloc(8)));
const ask = (target: string): Buffer => arp(1, ATTACKER, { mac: BROADCAST, ip: target });
const ask6 = (target: string): Buffer => icmpv6(MAC, SIX, ALL_NODES, 135, solicitation(target, MAC));
const hex = (frame: Buffer): string => frame.toString('hex');
/** Which of the frames were among those received, by name. */
const names = (frames: Record<string, Buffer>, seen: readonly string[]): string[] =>
  Object.keys(frames).filter((name) => seen.some((one) => one.startsWith(hex(frames[name]!))));

/** Sends frames by name, and tells which of them each of the guests received, and what the attacker was answered. */
async function sent(frames: Record<string, Buffer>): Promise<{ near: string[]; far: string[]; answers: string[] }> {
  await Promise.all([neighbour.received(), stranger.received(), attacker.received()]);
  const first = await attacker.send(...Object.values(frames));
  const [near, far] = [await neighbour.received(), await stranger.received()];
  const answers = [...first, ...(await attacker.received())];
  return { near: names(frames, near), far: names(frames, far), answers };
}

/** Sends one frame. @returns whether the gateway answered it */
async function answered(frame: Buffer, from: string): Promise<boolean> {
  const { answers } = await sent({ frame });
  // From the gateway's card to the attacker's.
  return answers.some((one) => one.startsWith(MAC.replaceAll(':', '') + from.replaceAll(':', '')));
}

describe('a guest on one network', () => {
  it('reaches its neighbours, and nobody on another network, however it asks', async () => {
    const { near, far } = await sent({
      'IPv4 to everybody': to(BROADCAST, '255.255.255.255'),
      'IPv4 to the neighbour': to(NEIGHBOUR.mac, NEIGHBOUR.ip),
      'IPv4 to the stranger': to(STRANGER.mac, STRANGER.ip),
      'IPv4 to the stranger by the gateway': to(GATEWAY.mac, STRANGER.ip),
      "IPv4 to the stranger by the other network's gateway": to(OTHER_GATEWAY.mac, STRANGER.ip),
      'IPv6 to everybody': to6('33:33:00:00:00:01', ALL_NODES),
      'IPv6 to the neighbour': to6(NEIGHBOUR.mac, NEIGHBOUR.six),
      'IPv6 to the stranger': to6(STRANGER.mac, STRANGER.six),
      'IPv6 to the stranger by the gateway': to6(GATEWAY.mac, STRANGER.six),
      'a question for the stranger': ask(STRANGER.ip),
    });
    expect(near).toEqual([
      'IPv4 to everybody',
      'IPv4 to the neighbour',
      'IPv6 to everybody',
      'IPv6 to the neighbour',
      'a question for the stranger',
    ]);
    expect(far).toEqual([]);
    // What arrived there in other form: a gateway that forwards changes the frame.
    const payload = Buffer.from('whatever').toString('hex');
    await attacker.send(to(GATEWAY.mac, STRANGER.ip), to6(GATEWAY.mac, STRANGER.six));
    expect((await stranger.received()).filter((one) => one.includes(payload))).toEqual([]);
  });

  it("does not reach the other network's gateway address, nor learn of it", async () => {
    expect(await answered(echo(GATEWAY.mac, GATEWAY.ip), GATEWAY.mac)).toBe(true);
    expect(await answered(echo6(GATEWAY.mac, GATEWAY.six), GATEWAY.mac)).toBe(true);
    expect(await answered(ask(GATEWAY.ip), GATEWAY.mac)).toBe(true);
    expect(await answered(ask6(GATEWAY.six), GATEWAY.mac)).toBe(true);
    expect(await answered(echo(GATEWAY.mac, OTHER_GATEWAY.ip), GATEWAY.mac)).toBe(false);
    expect(await answered(echo6(GATEWAY.mac, OTHER_GATEWAY.six), GATEWAY.mac)).toBe(false);
    expect(await answered(ask(OTHER_GATEWAY.ip), GATEWAY.mac)).toBe(false);
    expect(await answered(ask6(OTHER_GATEWAY.six), GATEWAY.mac)).toBe(false);
    for (const target of ['127.0.0.1', '224.0.0.1', '255.255.255.255', '10.1.0.255'])
      expect([target, await answered(echo(GATEWAY.mac, target), GATEWAY.mac)]).toEqual([target, false]);
  });

  it('has all of its addresses, and no other one', async () => {
    const say = (source: string): Buffer => ipv4(BROADCAST, MAC, source, '255.255.255.255', 17, packet);
    const say6 = (source: string): Buffer => ipv6(MAC, source, ALL_NODES, 17, packet);
    const claim = (address: string): Buffer => icmpv6(MAC, SIX, ALL_NODES, 136, advertisement(address, MAC));
    const { near } = await sent({
      own: say(IP),
      'its second one': say('10.1.0.99'),
      "a neighbour's": say(NEIGHBOUR.ip),
      "the gateway's": say(GATEWAY.ip),
      "a stranger's": say(STRANGER.ip),
      'own, in an ARP answer': arp(2, { mac: MAC, ip: '10.1.0.99' }, { mac: BROADCAST, ip: NEIGHBOUR.ip }),
      "the gateway's, in an ARP answer": arp(2, { mac: MAC, ip: GATEWAY.ip }, { mac: BROADCAST, ip: NEIGHBOUR.ip }),
      'own IPv6': say6(SIX),
      'its second IPv6': say6('fd01::99'),
      'its link-local one': say6(linkLocal(MAC)),
      "a neighbour's IPv6": say6(NEIGHBOUR.six),
      "the gateway's IPv6": say6(GATEWAY.six),
      "a neighbour's link-local one": say6(linkLocal(NEIGHBOUR.mac)),
      'own IPv6, advertised': claim('fd01::99'),
      "a neighbour's IPv6, advertised": claim(NEIGHBOUR.six),
      "the gateway's IPv6, advertised": claim(GATEWAY.six),
      "the gateway's link-local one, advertised": claim(linkLocal(GATEWAY.mac)),
      'a route': icmpv6(MAC, linkLocal(MAC), ALL_NODES, 134, routerAdvertisement('fd99::', MAC)),
      'a DHCP offer': ipv4(BROADCAST, MAC, IP, '255.255.255.255', 17, udp(67, 68, 'offer')),
      'a DHCPv6 offer': ipv6(MAC, SIX, ALL_NODES, 17, udp(547, 546, 'offer')),
    });
    expect(near).toEqual([
      'own',
      'its second one',
      'own, in an ARP answer',
      'own IPv6',
      'its second IPv6',
      'its link-local one',
      'own IPv6, advertised',
    ]);
  });

  it('reaches only what the gateway serves', async () => {
    const listening = spawn('nsenter', [`--net=${endpoint()}`, '--', process.execPath, '-e', LISTENERS, '53', '8080'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await new Promise((resolve) => listening.stdout.once('data', resolve));
      const begin = (port: number, target: string = GATEWAY.ip): Buffer =>
        ipv4(GATEWAY.mac, MAC, IP, target, 6, tcpSyn(IP, target, 2000, port));
      expect(await answered(begin(53), GATEWAY.mac)).toBe(true);
      // Neither open ports, nor closed ones, nor those of another address.
      for (const port of [8080, 8081, 22]) expect(await answered(begin(port), GATEWAY.mac)).toBe(false);
      expect(await answered(begin(53, OTHER_GATEWAY.ip), GATEWAY.mac)).toBe(false);
      expect(await answered(begin(53, '127.0.0.1'), GATEWAY.mac)).toBe(false);
      const say = (port: number): Buffer => ipv4(GATEWAY.mac, MAC, IP, GATEWAY.ip, 17, udp(3000, port, 'question'));
      const reply = async (port: number): Promise<boolean> =>
        (await sent({ say: say(port) })).answers.length > 0 ||
        (await attacker.received()).some((one) => one.includes(Buffer.from('answer').toString('hex')));
      // The answer comes from a process, in its own time.
      await expect.poll(() => reply(53)).toBe(true);
      for (const port of [8080, 8081]) expect(await reply(port)).toBe(false);
      // Who serves more says so.
      inEndpoint('nft', 'add element inet caisson_gateway tcp_services { 8080 }');
      expect(await answered(begin(8080), GATEWAY.mac)).toBe(true);
      // A restarted host does not forget that.
      expect(await network.adoptEndpoint('vm-1', gatewayNics())).toBe(endpoint());
      expect(await answered(begin(8080), GATEWAY.mac)).toBe(true);
      expect(await answered(begin(8081), GATEWAY.mac)).toBe(false);
    } finally {
      listening.kill();
    }
  });
});

/** Answers on these ports, TCP and UDP. */
const LISTENERS = `
const ports = process.argv.slice(1).map(Number);
let left = 2 * ports.length;
const ready = () => { if (--left === 0) console.log('ready'); };
for (const port of ports) {
  require('net').createServer((socket) => socket.end('answer')).listen(port, '0.0.0.0', ready);
  const udp = require('dgram').createSocket('udp4');
  udp.on('message', (_, from) => udp.send('answer', from.port, from.address));
  udp.bind(port, ready);
}`;

describe('settings of a port group', () => {
  it('keep its guests from each other, but not from their gateway', async () => {
    const frames = {
      'to the neighbour': to(NEIGHBOUR.mac, NEIGHBOUR.ip),
      'to everybody': to(BROADCAST, '255.255.255.255'),
    };
    const fromGateway = async (): Promise<boolean> => {
      await neighbour.received();
      inEndpoint('bash', '-c', `echo >/dev/udp/${NEIGHBOUR.ip}/9`);
      return (await neighbour.received()).some((one) => one.startsWith(NEIGHBOUR.mac.replaceAll(':', '')));
    };
    expect((await sent(frames)).near).toEqual(Object.keys(frames));
    await network.configurePortGroup('a', { isolated: true, mtu: 1500 });
    expect((await sent(frames)).near).toEqual([]);
    expect(await answered(echo(GATEWAY.mac, GATEWAY.ip), GATEWAY.mac)).toBe(true);
    expect(await fromGateway()).toBe(true);
    // Cards that come later, and a host that starts anew.
    const late = guest(14, 'a', 1);
    await network.plug(late.moid, [nicOf(late)]);
    const listener = await TapGuest.open(program.path, network.path, 't14n0');
    await listener.received();
    await attacker.send(to(BROADCAST, '255.255.255.255'), to(late.mac, late.ip));
    expect((await listener.received()).filter((one) => one.includes(MAC.replaceAll(':', '')))).toEqual([]);
    await listener.close();
    await network.unplug(late.moid);
    network = new VirtualSwitch(INSTANCE);
    await setUp();
    await network.configurePortGroup('a', { isolated: true, mtu: 1500 });
    for (const one of [ATTACKER, NEIGHBOUR, STRANGER]) await network.adopt(one.moid, [nicOf(one)]);
    await network.adoptEndpoint('vm-1', gatewayNics());
    expect((await sent(frames)).near).toEqual([]);
    expect(await answered(echo(GATEWAY.mac, GATEWAY.ip), GATEWAY.mac)).toBe(true);
    await network.configurePortGroup('a', { isolated: false, mtu: 1500 });
    expect((await sent(frames)).near).toEqual(Object.keys(frames));
  });

  it('let packets be as large as it says', async () => {
    const large = ipv4(NEIGHBOUR.mac, MAC, IP, NEIGHBOUR.ip, 17, udp(1, 1, 'x'.repeat(65_000)));
    expect((await sent({ large })).near).toEqual([]);
    await network.configurePortGroup('a', { isolated: false, mtu: 65_520 });
    expect((await sent({ large })).near).toEqual(['large']);
    const links = execFileSync('ip', ['-n', network.namespace, '-json', 'link'], { encoding: 'utf8' });
    const mtus = new Map((JSON.parse(links) as { ifname: string; mtu: number }[]).map((one) => [one.ifname, one.mtu]));
    expect(['t11n0', 't12n0', 't13n0', 't1n0', 't1n1'].map((name) => mtus.get(name))).toEqual([
      65_520, 65_520, 1500, 65_520, 1500,
    ]);
    await network.configurePortGroup('a', { isolated: false, mtu: 1500 });
    expect((await sent({ large })).near).toEqual([]);
  });
});
