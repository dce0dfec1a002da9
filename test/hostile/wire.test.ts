/** The wire: frames that a container's root sends with forged senders reach nobody, and change nothing on the host. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RuntimeNic } from '../../src/hostd/runtime.js';
import { VirtualSwitch } from '../../src/hostd/switch/virtual-switch.js';
import { VimClient } from '../../src/vim25/index.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { run, type Stack } from '../support/stack.js';
import {
  advertisement,
  arp,
  BROADCAST,
  compileFrames,
  fragments6,
  frame,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  linkLocal,
  routerAdvertisement,
  udp,
  withHeader,
} from '../support/wire/frames.js';

interface Card {
  mac: string;
  ip: string;
}

const ALL_NODES = 'ff02::1';
let stack: Stack;
let program: Awaited<ReturnType<typeof compileFrames>>;
let victim: Card;
let attacker: Card;
let gateway: string;
let gatewayMac: string;
let url: string;

const cardOf = async (name: string): Promise<Card> => {
  const { stdout } = await stack.docker(
    'inspect',
    '-f',
    '{{.NetworkSettings.MacAddress}} {{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}',
    name,
  );
  const [mac = '', ip = '', via = ''] = stdout.trim().split(' ');
  gateway = via;
  return { mac, ip };
};
const inSwitch = (...command: string[]): Promise<string> =>
  run(command[0]!, ['-n', `csn-${stack.paths.instance}`, ...command.slice(1)]).then(({ stdout }) => stdout);
const endpointNamespace = (): string =>
  readdirSync('/run/netns').find((name) => name.startsWith(`csn-${stack.paths.instance}-`))!;
const inEndpoint = (...command: string[]): Promise<string> =>
  run('nsenter', [`--net=/run/netns/${endpointNamespace()}`, '--', ...command]).then(({ stdout }) => stdout);
const entries = (): Promise<string> =>
  run('nsenter', [
    `--net=/run/netns/csn-${stack.paths.instance}`,
    '--',
    'nft',
    'list',
    'table',
    'bridge',
    'caisson',
  ]).then(({ stdout }) => stdout);
const PATIENT = { timeout: 60_000, interval: 200 };
const page = async (): Promise<string> => (await fetch(url, { signal: AbortSignal.timeout(10_000) })).text();

/** Sends from the attacker, ending with a marked frame. @returns what a bystander has seen by then, in hexadecimal */
function seenOf(frames: Buffer[], text: string): Promise<string[]> {
  const last = ipv4(BROADCAST, attacker.mac, attacker.ip, '255.255.255.255', 17, udp(9, 9, text));
  return watchedBy('bystander', text, () => send([...frames, last]));
}

/** What a container sees while this is done, up to a frame with that text. */
async function watchedBy(name: string, text: string, work: () => Promise<unknown>): Promise<string[]> {
  const watching = spawn('docker', ['exec', name, '/frames', 'watch', text], {
    env: { ...process.env, DOCKER_HOST: stack.dockerHost },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let seen = '';
  const ended = new Promise((resolve) => watching.once('close', resolve));
  await new Promise<void>((resolve) => {
    watching.stdout.on('data', (data: Buffer) => {
      seen += data.toString();
      if (seen.startsWith('ready\n')) resolve();
    });
  });
  await work();
  await ended;
  return seen.split('\n').slice(1);
}

async function send(frames: Buffer[]): Promise<void> {
  const input = frames.map((one) => `${one.toString('hex')}\n`).join('');
  const { code, stderr } = await stack.dockerWith({ input }, 'exec', '-i', 'attacker', '/frames', 'send');
  expect([code, stderr]).toEqual([0, '']);
}

/** Frames that no container may send. */
function attacks(): Record<string, Buffer> {
  const me = { mac: attacker.mac, ip: victim.ip };
  const all = { mac: BROADCAST, ip: victim.ip };
  const own = linkLocal(attacker.mac);
  const packet = udp(1000, 1000, 'spoofed');
  return {
    'an ARP answer for a neighbour': arp(2, me, all),
    'an ARP announcement of its address': arp(1, me, all),
    'an ARP answer for the gateway': arp(2, { ...me, ip: gateway }, all),
    'an ARP answer with its MAC address inside': arp(
      2,
      { mac: victim.mac, ip: attacker.ip, frameMac: attacker.mac },
      all,
    ),
    'ARP from its MAC address': arp(2, victim, all),
    'an ARP answer for no address': arp(2, { ...me, ip: '0.0.0.0' }, all),
    'IPv4 from a neighbour': ipv4(BROADCAST, attacker.mac, victim.ip, '255.255.255.255', 17, packet),
    'IPv4 from its MAC address': ipv4(BROADCAST, victim.mac, victim.ip, '255.255.255.255', 17, packet),
    'IPv4 from elsewhere': ipv4(BROADCAST, attacker.mac, '192.0.2.1', '255.255.255.255', 17, packet),
    'IPv4 from nowhere': ipv4(BROADCAST, attacker.mac, '0.0.0.0', '255.255.255.255', 17, packet),
    'a DHCP offer': ipv4(BROADCAST, attacker.mac, attacker.ip, '255.255.255.255', 17, udp(67, 68, 'offer')),
    'an ICMP redirect': ipv4(BROADCAST, attacker.mac, attacker.ip, gateway, 1, icmp(5, 1, Buffer.alloc(32))),
    'an ICMP router advertisement': ipv4(
      BROADCAST,
      attacker.mac,
      attacker.ip,
      gateway,
      1,
      icmp(9, 0, Buffer.alloc(12)),
    ),
    'IPv6 from a neighbour': ipv6(attacker.mac, linkLocal(victim.mac), ALL_NODES, 17, packet),
    'IPv6 from elsewhere': ipv6(attacker.mac, '2001:db8::1', ALL_NODES, 17, packet),
    'a DHCPv6 answer': ipv6(attacker.mac, own, ALL_NODES, 17, udp(547, 546, 'offer')),
    'a router advertisement': icmpv6(
      attacker.mac,
      own,
      ALL_NODES,
      134,
      routerAdvertisement('2001:db8:dead::', attacker.mac),
    ),
    'an ICMPv6 redirect': icmpv6(attacker.mac, own, ALL_NODES, 137, Buffer.alloc(36)),
    'an advertisement for a neighbour': icmpv6(
      attacker.mac,
      own,
      ALL_NODES,
      136,
      advertisement(linkLocal(victim.mac), attacker.mac),
    ),
    'a probe for a neighbour': icmpv6(
      attacker.mac,
      '::',
      ALL_NODES,
      135,
      advertisement(linkLocal(victim.mac), attacker.mac).subarray(0, 20),
    ),
    ...hidden(packet),
    'a frame with a VLAN tag': frame(
      BROADCAST,
      attacker.mac,
      0x8100,
      Buffer.concat([Buffer.from('00000800', 'hex'), Buffer.alloc(46)]),
    ),
    'a frame of another protocol': frame(BROADCAST, attacker.mac, 0x88b5, Buffer.alloc(46)),
  };
}

/** The same frame, encapsulated in ways that could hide it from a filter. */
function hidden(packet: Buffer): Record<string, Buffer> {
  const own = linkLocal(attacker.mac);
  const spoofed = ipv4(BROADCAST, attacker.mac, victim.ip, '255.255.255.255', 17, packet);
  const tagged = (...tags: string[]): Buffer =>
    Buffer.concat([spoofed.subarray(0, 12), Buffer.from(tags.join(''), 'hex'), spoofed.subarray(12)]);
  const to = (mac: string): Buffer => Buffer.concat([Buffer.from(mac.replaceAll(':', ''), 'hex'), spoofed.subarray(6)]);
  const router = icmpv6(attacker.mac, own, ALL_NODES, 134, routerAdvertisement('2001:db8:dead::', attacker.mac));
  const padding = Buffer.from([0, 1, 4, 0, 0, 0, 0]);
  const [, rest] = fragments6(withHeader(router, 60, padding), 8);
  const offer = ipv6(attacker.mac, own, ALL_NODES, 17, udp(547, 546, 'offer'));
  const [, offerRest] = fragments6(withHeader(offer, 60, padding), 8);
  const [whole] = fragments6(router, 24);
  return {
    'IPv4 from a neighbour, with an empty VLAN tag': tagged('81000000'),
    'the same with two tags': tagged('88a80001', '81000001'),
    'the same with two tags of one kind': tagged('81000000', '81000000'),
    'the same as 802.3 with SNAP': frame(
      BROADCAST,
      attacker.mac,
      spoofed.length - 6,
      Buffer.concat([Buffer.from('aaaa03000000', 'hex'), spoofed.subarray(12)]),
    ),
    'the same to the address of bridges': to('01:80:c2:00:00:00'),
    'the same to the address of neighbours': to('01:80:c2:00:00:0e'),
    'IPv4 from the gateway, with its MAC address': ipv4(BROADCAST, gatewayMac, gateway, '255.255.255.255', 17, packet),
    'ARP from the gateway, with its MAC address': arp(
      2,
      { mac: gatewayMac, ip: gateway },
      { mac: BROADCAST, ip: victim.ip },
    ),
    'IPv6 from an IPv4 address': ipv6(attacker.mac, `::ffff:${victim.ip}`, ALL_NODES, 17, packet),
    'a router advertisement behind options': withHeader(router, 60, padding),
    'a router advertisement in a fragment': whole!,
    'the fragment with one, of which the first shows options alone': rest!,
    'the fragment with a DHCPv6 answer': offerRest!,
    'a bridge’s hello': frame(
      '01:80:c2:00:00:00',
      attacker.mac,
      38,
      Buffer.concat([Buffer.from('424203', 'hex'), Buffer.alloc(43)]),
    ),
  };
}

/** Frames that every container may send. */
function lawful(): Record<string, Buffer> {
  const own = linkLocal(attacker.mac);
  const all = { mac: BROADCAST, ip: victim.ip };
  const [first, rest] = fragments6(ipv6(attacker.mac, own, ALL_NODES, 17, udp(1000, 1000, 'lawful in pieces')), 16);
  return {
    'an ARP question': arp(1, attacker, all),
    'an ARP probe': arp(1, { mac: attacker.mac, ip: '0.0.0.0' }, all),
    IPv4: ipv4(BROADCAST, attacker.mac, attacker.ip, '255.255.255.255', 17, udp(1000, 1000, 'lawful')),
    'an echo request': ipv4(BROADCAST, attacker.mac, attacker.ip, '255.255.255.255', 1, icmp(8, 0, Buffer.alloc(32))),
    IPv6: ipv6(attacker.mac, own, ALL_NODES, 17, udp(1000, 1000, 'lawful')),
    'the first part of it': first!,
    'the rest of it': rest!,
    'a neighbour advertisement': icmpv6(attacker.mac, own, ALL_NODES, 136, advertisement(own, attacker.mac)),
    'duplicate address detection': icmpv6(
      attacker.mac,
      '::',
      ALL_NODES,
      135,
      advertisement(own, attacker.mac).subarray(0, 20),
    ),
  };
}

/** Names of the frames that were seen. */
const among = (frames: Record<string, Buffer>, seen: string[]): string[] =>
  Object.keys(frames).filter((name) => seen.some((one) => one.startsWith(frames[name]!.toString('hex'))));

/** Sends all of both kinds: only the allowed ones arrive. */
async function expectChecked(text: string): Promise<void> {
  const [bad, good] = [attacks(), lawful()];
  const seen = await seenOf([...Object.values(bad), ...Object.values(good)], text);
  expect(among(bad, seen)).toEqual([]);
  // Also without the tag, which the receiving driver strips.
  for (const mark of [Buffer.from('spoofed').toString('hex'), '20010db8dead'])
    expect(seen.filter((one) => one.includes(mark))).toEqual([]);
  expect(among(good, seen)).toEqual(Object.keys(good));
}

beforeAll(async () => {
  program = await compileFrames();
  stack = await startMirroredStack(['busybox']);
  const serve = 'echo victim >/index.html; exec httpd -f -p 80 -h /';
  for (const [name, ...rest] of [
    ['victim', '-p', '127.0.0.1::80', 'busybox', 'sh', '-c', serve],
    ['attacker', '--privileged', 'busybox', 'sleep', '10000'],
    ['bystander', 'busybox', 'sleep', '10000'],
  ])
    expect(await stack.docker('run', '-d', '--name', name!, ...rest)).toMatchObject({ code: 0 });
  for (const name of ['attacker', 'bystander'])
    expect(await stack.docker('cp', program.path, `${name}:/frames`)).toMatchObject({ code: 0 });
  victim = await cardOf('victim');
  attacker = await cardOf('attacker');
  gatewayMac = /link\/ether (\S+)/.exec(await inEndpoint('ip', 'link', 'show', 'dev', 'eth0'))![1]!;
  url = `http://${(await stack.docker('port', 'victim', '80')).stdout.trim()}/`;
  await vi.waitFor(page, PATIENT);
});

afterAll(async () => {
  await stack?.stop();
  program?.remove();
});

describe('a container that sends arbitrary frames', () => {
  it('reaches nobody with a forged sender, and everybody with its own', () => expectChecked('first'));

  it("does not receive traffic of a neighbour's published port", async () => {
    await stack.docker('exec', 'attacker', 'ip', 'address', 'add', `${victim.ip}/16`, 'dev', 'eth0');
    await stack.docker('exec', '-d', 'attacker', 'sh', '-c', 'echo stolen >/index.html; httpd -p 80 -h /');
    const claims = [1, 2] as const;
    await send(
      claims.map((kind) => arp(kind, { mac: attacker.mac, ip: victim.ip }, { mac: BROADCAST, ip: victim.ip })),
    );
    await stack.docker('exec', 'attacker', 'arping', '-U', '-c', '2', '-I', 'eth0', victim.ip);
    expect(await page()).toBe('victim\n');
    expect((await stack.docker('exec', 'bystander', 'wget', '-q', '-O-', `http://${victim.ip}/`)).stdout).toBe(
      'victim\n',
    );
    expect(await inEndpoint('ip', 'neigh', 'show', victim.ip)).toContain(`lladdr ${victim.mac} PERMANENT`);
    await stack.docker('exec', 'attacker', 'ip', 'address', 'del', `${victim.ip}/16`, 'dev', 'eth0');
  });

  it('fills no table of the host, and changes no routes', async () => {
    const look = (): Promise<string[]> =>
      Promise.all([
        inSwitch('bridge', 'fdb', 'show').then((text) => String(text.split('\n').length)),
        inEndpoint('ip', 'neigh', 'show').then((text) => text.split('\n').sort().join('\n')),
        inEndpoint('ip', '-6', 'route', 'show', 'table', 'all'),
        inEndpoint('ip', '-6', '-o', 'address', 'show', 'dev', 'eth0', 'scope', 'global'),
        inSwitch('ip', '-6', 'route', 'show', 'table', 'all'),
      ]);
    const before = await look();
    const hex = (value: number): string => value.toString(16).padStart(4, '0').match(/../g)!.join(':');
    const flood = Array.from({ length: 3000 }, (_, index) =>
      ipv4(BROADCAST, `02:00:00:00:${hex(index)}`, attacker.ip, '255.255.255.255', 17, udp(9, 9, 'flood')),
    );
    const askers = Array.from({ length: 300 }, (_, index) =>
      arp(1, { mac: attacker.mac, ip: `172.16.${100 + (index >> 8)}.${index & 255}` }, { mac: BROADCAST, ip: gateway }),
    );
    const routers = Array.from({ length: 3 }, () => attacks()['a router advertisement']!);
    await send([...flood, ...askers, ...routers]);
    // Everything sent before it has been handled.
    await seenOf([], 'after the flood');
    expect(await look()).toEqual(before);
    for (const setting of ['accept_ra', 'autoconf', 'accept_redirects'])
      expect(await inEndpoint('cat', `/proc/sys/net/ipv6/conf/eth0/${setting}`)).toBe('0\n');
  });

  it('is checked by a restarted hostd, and with its address in the next run', async () => {
    await stack.restartHostd();
    expect(await page()).toBe('victim\n');
    await expectChecked('second');
    expect((await stack.docker('restart', '-t', '0', 'attacker')).code).toBe(0);
    // It keeps its address, and hostd knows it again.
    expect(await cardOf('attacker')).toEqual(attacker);
    await expectChecked('third');
  });

  it('may forge where the port group allows it, as in vSphere', async () => {
    const client = await VimClient.connect(stack.login());
    const accept = (forgedTransmits: boolean): Promise<unknown> =>
      client.call(
        'UpdatePortGroup',
        { type: 'HostNetworkSystem', value: 'networkSystem' },
        {
          pgName: 'test-bridge',
          portgrp: {
            name: 'test-bridge',
            vlanId: 0,
            vswitchName: 'vSwitch0',
            policy: { security: { forgedTransmits } },
          },
        },
      );
    try {
      await accept(true);
      const bad = attacks();
      const seen = await seenOf(Object.values(bad), 'fifth');
      expect(among(bad, seen)).toContain('IPv4 from a neighbour');
      expect(among(bad, seen)).toContain('a router advertisement');
      await stack.restartHostd();
    } finally {
      await client.close();
    }
    const again = await VimClient.connect(stack.login());
    const system = { type: 'HostNetworkSystem', value: 'networkSystem' };
    const { props } = (await again.retrieve([system], 'HostNetworkSystem', ['networkInfo']))[0]!;
    const told = props.networkInfo?.portgroup?.find(({ spec }) => spec.name === 'test-bridge');
    expect(told?.computedPolicy.security).toMatchObject({
      allowPromiscuous: false,
      macChanges: false,
      forgedTransmits: true,
    });
    const portgrp = (security: object) => ({
      name: 'test-bridge',
      vlanId: 0,
      vswitchName: 'vSwitch0',
      policy: { security },
    });
    await expect(
      again.call('UpdatePortGroup', system, { pgName: 'test-bridge', portgrp: portgrp({ allowPromiscuous: true }) }),
    ).rejects.toThrow(/Promiscuous mode is not supported/);
    await again.call('UpdatePortGroup', system, {
      pgName: 'test-bridge',
      portgrp: portgrp({ forgedTransmits: false }),
    });
    await again.close();
    await expectChecked('sixth');
  });

  it('leaves nothing behind', async () => {
    expect(await entries()).toContain(attacker.ip);
    expect((await stack.docker('rm', '-f', 'attacker', 'victim', 'bystander')).code).toBe(0);
    const left = await vi.waitFor(async () => {
      const now = await entries();
      expect(now).not.toContain(attacker.ip);
      return now;
    }, PATIENT);
    expect(left).toContain('@macs');
    for (const { ip, mac } of [attacker, victim]) {
      expect(left).not.toContain(ip);
      expect(left).not.toContain(mac);
      expect(await inSwitch('bridge', 'fdb', 'show')).not.toContain(mac);
      await expect.poll(() => inEndpoint('ip', 'neigh', 'show')).not.toContain(ip);
    }
  });
});

describe('a machine without nftables', () => {
  it.each([
    ['that has no nft', null],
    ['whose kernel has no bridge family', 'echo "Error: Could not process rule: Operation not supported" >&2; exit 1'],
  ])('%s carries on, and reports it', async (_, script) => {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-path-'));
    const path = process.env.PATH ?? '';
    for (const name of ['ip', 'bridge', 'nsenter', 'perl', 'sh', 'cat'])
      symlinkSync(execFileSync('which', [name], { encoding: 'utf8' }).trim(), join(directory, name));
    if (script !== null) writeFileSync(join(directory, 'nft'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    process.env.PATH = directory;
    const bare = new VirtualSwitch(`bare${process.pid}`);
    try {
      await bare.addPortGroup('group');
      expect(bare.lacks).toContain(
        'Container networks: sender addresses are not checked, since nftables does not work on this machine',
      );
      const nic: RuntimeNic = { index: 0, mac: '02:00:00:00:00:01', portGroup: 'group', connected: true };
      expect(await bare.plug('vm-1', [{ ...nic, addresses: ['172.16.0.2'] }])).toEqual(new Map([[0, 't1n0']]));
      const ports = await run('bridge', ['-n', bare.namespace, '-d', 'link', 'show']);
      // The bridge still learns nothing, and drops frames from other MAC addresses.
      expect(ports.stdout).toMatch(/learning off/);
      if (!bare.lacks.some((one) => one.includes('lock'))) expect(ports.stdout).toMatch(/locked on/);
      await bare.unplug('vm-1');
    } finally {
      await bare.remove();
      process.env.PATH = path;
      rmSync(directory, { recursive: true });
    }
  });
});
