/** A port group that is joined with an interface of the machine, here of a namespace that plays the machine. Guests are played on their taps. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RuntimeNic } from '../../src/hostd/runtime.js';
import { VirtualSwitch } from '../../src/hostd/switch/virtual-switch.js';
import { arp, BROADCAST, compileFrames, ipv4, udp } from '../support/wire/frames.js';
import { TapGuest } from '../support/wire/tap-guest.js';

const INSTANCE = `uplink${process.pid % 10_000}`;
const [MACHINE, OUTSIDE] = [`${INSTANCE}-machine`, `${INSTANCE}-outside`];
const UPLINK = [{ portGroup: 'lan', interface: 'eth1' }];
const GUEST = { mac: '02:00:00:00:0e:02', ip: '192.0.2.2' };
const OTHER = { mac: '02:00:00:00:0e:03', ip: '192.0.2.3' };
const HOST = { mac: '02:00:00:00:0e:99', ip: '192.0.2.99' };
const network = new VirtualSwitch(INSTANCE, UPLINK, MACHINE);
let program: Awaited<ReturnType<typeof compileFrames>>;
let guest: TapGuest;
let other: TapGuest;

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const nic = ({ mac, ip: address }: { mac: string; ip: string }, portGroup = 'lan'): RuntimeNic => ({
  index: 0,
  mac,
  portGroup,
  connected: true,
  addresses: [address],
});
/** The machine's interface, as ip and the kernel show it. */
const machines = (): string => ip('-n', MACHINE, '-d', '-o', 'link', 'show', 'eth1');
const joined = (): string[] =>
  [...ip('-n', network.namespace, '-o', 'link').matchAll(/: (up\w+)@/g)].map((one) => one[1]!);

/** What somebody outside sees until this text arrives. */
async function watch(text: string): Promise<{ ready: Promise<void>; seen: Promise<string> }> {
  const child = spawn('ip', ['netns', 'exec', OUTSIDE, program.path, 'watch', text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let seen = '';
  const ended = new Promise<string>((resolve) => child.once('close', () => resolve(seen)));
  const ready = new Promise<void>((resolve) => {
    child.stdout.on('data', (data: Buffer) => {
      seen += data.toString();
      resolve();
    });
  });
  return { ready, seen: ended };
}
const outsideSends = (frame: Buffer): string =>
  execFileSync('ip', ['netns', 'exec', OUTSIDE, program.path, 'send'], {
    input: `${frame.toString('hex')}\n`,
    encoding: 'utf8',
  });
const say = (from: { mac: string; ip: string }, text: string, to = BROADCAST): Buffer =>
  ipv4(to, from.mac, from.ip, '255.255.255.255', 17, udp(9, 9, text));
const has = (frames: readonly string[], text: string): boolean =>
  frames.some((one) => one.includes(Buffer.from(text).toString('hex')));

let before: string;
beforeAll(async () => {
  program = await compileFrames();
  for (const name of [MACHINE, OUTSIDE]) ip('netns', 'add', name);
  ip('-n', MACHINE, 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', OUTSIDE);
  ip('-n', MACHINE, 'link', 'set', 'eth1', 'up');
  ip('-n', MACHINE, 'address', 'add', '192.0.2.1/24', 'dev', 'eth1');
  ip('-n', OUTSIDE, 'link', 'set', 'eth0', 'address', HOST.mac, 'up');
  before = machines();
  await network.addPortGroup('lan');
  await network.addPortGroup('own');
  await network.plug('vm-1', [nic(GUEST)]);
  await network.plug('vm-2', [nic(OTHER, 'own')]);
  [guest, other] = (await Promise.all(
    ['t1n0', 't2n0'].map((tap) => TapGuest.open(program.path, network.path, tap)),
  )) as [TapGuest, TapGuest];
});
afterAll(async () => {
  await guest?.close();
  await other?.close();
  await network.remove();
  for (const name of [MACHINE, OUTSIDE]) if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name);
  program?.remove();
});

it('joins guests with what is beyond the interface, in both directions, and no others', async () => {
  const watching = await watch('last');
  await watching.ready;
  await guest.send(say(GUEST, 'from the guest'));
  await other.send(say(OTHER, 'from another port group'));
  // A forged sender does not get out.
  await guest.send(say({ ...GUEST, ip: HOST.ip }, 'forged'), say({ ...GUEST, mac: HOST.mac }, 'forged'));
  await guest.send(arp(1, GUEST, { mac: BROADCAST, ip: HOST.ip }), say(GUEST, 'last'));
  const seen = (await watching.seen).split('\n');
  expect(['from the guest', 'from another port group', 'forged'].map((text) => has(seen, text))).toEqual([
    true,
    false,
    false,
  ]);
  await other.received();
  await guest.received();
  outsideSends(say(HOST, 'to everybody'));
  outsideSends(say(HOST, 'to the guest', GUEST.mac));
  outsideSends(say(HOST, 'to somebody else', OTHER.mac));
  const got = await guest.received();
  expect(['to everybody', 'to the guest', 'to somebody else'].map((text) => has(got, text))).toEqual([
    true,
    true,
    false,
  ]);
  expect(has(await other.received(), 'to everybody')).toBe(false);
});

it("lets nobody outside take a guest's traffic by its MAC address", async () => {
  await network.plug('vm-3', [nic({ mac: '02:00:00:00:0e:04', ip: '192.0.2.4' })]);
  const third = await TapGuest.open(program.path, network.path, 't3n0');
  await third.received();
  outsideSends(say({ mac: GUEST.mac, ip: HOST.ip }, 'I am the guest'));
  await guest.received();
  await third.send(say({ mac: '02:00:00:00:0e:04', ip: '192.0.2.4' }, 'for the guest', GUEST.mac));
  expect(has(await guest.received(), 'for the guest')).toBe(true);
  await third.close();
  await network.unplug('vm-3');
});

it('lets a guest have the address that a DHCP server outside gives it, and only that', async () => {
  const leased = { mac: '02:00:00:00:0e:05', ip: '192.0.2.50' };
  const trust = { level: 'published' as const, ports: [], peers: [], dynamic: true };
  await network.plug('vm-5', [{ ...nic(leased), addresses: [], trust }]);
  let client = await TapGuest.open(program.path, network.path, 't5n0');
  await client.received();
  const reaches = async (frame: Buffer): Promise<boolean> => {
    await guest.received();
    await client.send(frame);
    return (await guest.received()).includes(frame.toString('hex'));
  };
  const dhcp = (operation: 1 | 2, mac: string, address: string): Buffer =>
    Buffer.concat([
      Buffer.from([operation, 1, 6, 0]),
      Buffer.alloc(12),
      Buffer.from(address.split('.').map(Number)),
      Buffer.alloc(8),
      Buffer.from(mac.replaceAll(':', ''), 'hex'),
      Buffer.alloc(202),
    ]);
  const question = (mac: string): Buffer =>
    ipv4(
      BROADCAST,
      leased.mac,
      '0.0.0.0',
      '255.255.255.255',
      17,
      udp(68, 67, dhcp(1, mac, '0.0.0.0').toString('latin1')),
    );
  const answer = (from: { mac: string; ip: string }, mac: string, address: string): Buffer =>
    ipv4(BROADCAST, from.mac, from.ip, '255.255.255.255', 17, udp(67, 68, dhcp(2, mac, address).toString('latin1')));
  expect(await reaches(question(leased.mac))).toBe(true);
  expect(await reaches(question(GUEST.mac))).toBe(false);
  expect(await reaches(say(leased, 'before'))).toBe(false);
  // Neither by an answer to somebody else, nor by one that a guest makes up.
  outsideSends(answer(HOST, GUEST.mac, leased.ip));
  await guest.send(answer(GUEST, leased.mac, leased.ip));
  await client.send(answer({ ...leased, ip: '0.0.0.0' }, leased.mac, leased.ip));
  expect(await reaches(say(leased, 'still before'))).toBe(false);
  outsideSends(answer(HOST, leased.mac, leased.ip));
  expect((await client.received()).length).toBeGreaterThan(0);
  expect(await reaches(say(leased, 'after'))).toBe(true);
  expect(await reaches(arp(1, leased, { mac: BROADCAST, ip: HOST.ip }))).toBe(true);
  expect(await reaches(say({ ...leased, ip: '192.0.2.51' }, 'another'))).toBe(false);
  // It may say something to the server about its own lease, but not about others', and no other guest about anything.
  const said = (from: { mac: string; ip: string }, mac: string): Buffer =>
    ipv4(BROADCAST, from.mac, from.ip, HOST.ip, 17, udp(68, 67, dhcp(1, mac, '0.0.0.0').toString('latin1')));
  expect(await reaches(said(leased, leased.mac))).toBe(true);
  expect(await reaches(said(leased, GUEST.mac))).toBe(false);
  const watching = await watch('behind');
  await watching.ready;
  await client.send(said(leased, leased.mac));
  await guest.send(said(GUEST, leased.mac), said(GUEST, GUEST.mac), say(GUEST, 'behind'));
  const heard = (await watching.seen).split('\n').filter((frame) => frame.includes('00440043'));
  expect(heard).toEqual([said(leased, leased.mac).toString('hex')]);
  // A guest that is not to ask does not get one.
  await guest.received();
  outsideSends(answer(HOST, GUEST.mac, '192.0.2.77'));
  await client.received();
  await guest.send(say({ ...GUEST, ip: '192.0.2.77' }, 'not mine'));
  expect(has(await client.received(), 'not mine')).toBe(false);
  await client.close();
  await network.unplug('vm-5');
  // The next card of that name has to be given it anew.
  await network.plug('vm-5', [{ ...nic(leased), addresses: [], trust }]);
  client = await TapGuest.open(program.path, network.path, 't5n0');
  await client.received();
  expect(await reaches(say(leased, 'again'))).toBe(false);
  expect(await reaches(question(leased.mac))).toBe(true);
  await client.close();
  await network.unplug('vm-5');
});

it("leaves the machine's interface as it was, and gives it back when it is no longer wanted", async () => {
  // Only that somebody listens to all of its frames is different.
  const plain = (text: string): string => text.replace(/promiscuity \d+ +/, '').replace(/allmulti \d+ +/, '');
  expect(plain(machines())).toBe(plain(before));
  expect(ip('-n', MACHINE, '-o', '-4', 'address', 'show', 'dev', 'eth1')).toContain('192.0.2.1/24');
  const [port] = joined();
  const index = (): string => ip('-n', network.namespace, '-o', 'link', 'show', port!).split(':')[0]!;
  const was = index();
  // A host that starts anew keeps what it finds.
  const again = new VirtualSwitch(INSTANCE, UPLINK, MACHINE);
  await again.addPortGroup('lan');
  expect([joined(), index(), again.lacks.filter((one) => one.includes('joined'))]).toEqual([[port], was, []]);
  const without = new VirtualSwitch(INSTANCE, [], MACHINE);
  await without.addPortGroup('lan');
  expect(joined()).toEqual([]);
  expect(machines()).toBe(before);
  await again.addPortGroup('lan');
  const anew = new VirtualSwitch(INSTANCE, UPLINK, MACHINE);
  await anew.addPortGroup('lan');
  expect(joined()).toEqual([port]);
  await anew.removePortGroup('lan');
  expect(joined()).toEqual([]);
  await anew.addPortGroup('lan');
  // Also when the bridge goes first.
  const bridge = /master (br\w+)/.exec(ip('-n', network.namespace, '-o', 'link', 'show', port!))![1]!;
  ip('-n', network.namespace, 'link', 'delete', bridge);
  expect(machines()).toMatch(/allmulti 0 /);
  await anew.remove();
  // The kernel takes a namespace apart in its own time.
  await expect.poll(machines).toBe(before);
});

it('an interface that went is joined again when it is back', async () => {
  const name = `${INSTANCE}y`;
  const gone = new VirtualSwitch(name, [{ portGroup: 'lan', interface: 'eth7' }], MACHINE);
  const plugIn = (): void => {
    ip('-n', MACHINE, 'link', 'add', 'eth7', 'type', 'veth', 'peer', 'name', 'eth8');
    ip('-n', MACHINE, 'link', 'set', 'eth7', 'up');
  };
  const there = (): number => [...ip('-n', gone.namespace, '-o', 'link').matchAll(/: up\w+@.* master br/g)].length;
  const why = (): string => gone.lacks.filter((one) => one.includes('joined')).join();
  await gone.addPortGroup('lan');
  expect([there(), why()]).toEqual([0, expect.stringContaining('there is no such interface')]);
  for (let round = 0; round < 2; round++) {
    plugIn();
    await expect.poll(() => [there(), why()]).toEqual([1, '']);
    ip('-n', MACHINE, 'link', 'delete', 'eth7');
    await expect.poll(why).toContain('there is no such interface');
    expect(there()).toBe(0);
  }
  await gone.remove();
});

it('says what keeps it from joining them', async () => {
  for (const [name, why] of [
    ['none', /lan is not joined with none \(there is no such interface\)/],
    ['down0', /lan is not joined with down0 \(the interface is down\)/],
  ] as const) {
    if (name === 'down0') ip('-n', MACHINE, 'link', 'add', 'down0', 'type', 'veth', 'peer', 'name', 'down1');
    const lacking = new VirtualSwitch(`${INSTANCE}x`, [{ portGroup: 'lan', interface: name }], MACHINE);
    await lacking.addPortGroup('lan');
    expect(lacking.lacks.join('\n')).toMatch(why);
    await lacking.remove();
  }
});
