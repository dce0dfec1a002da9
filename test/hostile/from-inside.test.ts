/**
 * What root in a container tries with raw sockets and settings of its own: to reach other networks, the gateway's services, the machine, its
 * hostd and its Docker API. Each attack is looked for where it would arrive, beside something lawful that does arrive there.
 * `wire.test.ts` forges senders.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerOk } from '../support/docker-ok.js';
import { hasIpv6 } from '../support/ipv6.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { type OutsideWorld, openOutsideWorld } from '../support/outside-world.js';
import type { Stack } from '../support/stack.js';
import {
  advertisement,
  arp,
  BROADCAST,
  compileFrames,
  frame,
  icmpv6,
  ipv4,
  ipv6,
  routerAdvertisement,
  sentTo,
  tcpSyn,
  udp,
} from '../support/wire/frames.js';

/** Answers TCP and UDP on a port of all addresses, and says who asked; a port of 0 is any free one, and is said first. */
const LISTENER = `
const port = Number(process.argv[1]);
const saw = (kind, from) => console.log(kind + ' ' + from);
const tcp = require('node:net').createServer((socket) => {
  saw('tcp', socket.remoteAddress);
  socket.on('error', () => undefined).end('here');
}).listen(port, '::', () => {
  const udp = require('node:dgram').createSocket('udp6', (data, from) => { saw('udp', from.address); udp.send('here', from.port, from.address); });
  udp.bind(tcp.address().port, '::', () => console.log(tcp.address().port));
});
`;

interface Card {
  mac: string;
  ip: string;
  six: string;
  gateway: string;
  gateway6: string;
}

let stack: Stack;
let world: OutsideWorld;
let directory: string;
let frames: Awaited<ReturnType<typeof compileFrames>>;
let attacker: Card;
let neighbour: Card;
let stranger: Card;
const children: ChildProcess[] = [];

const docker = (...args: string[]): Promise<string> => dockerOk(stack, ...args).then((text) => text.trim());
const attack = (...words: string[]): Promise<string> => docker('exec', 'attacker', '/attack', ...words);
const lines = (text: string): string[] => (text === '' ? [] : text.split('\n'));
const endpointNamespace = (): string =>
  `/run/netns/${readdirSync('/run/netns').find((name) => name.startsWith(`csn-${stack.paths.instance}-`))!}`;
const inEndpoint = (...command: string[]): string =>
  execFileSync('nsenter', [`--net=${endpointNamespace()}`, '--', ...command], { encoding: 'utf8' });

async function cardOf(name: string): Promise<Card> {
  const text = await docker('inspect', '-f', '{{json .NetworkSettings.Networks}}', name);
  const [card] = Object.values(JSON.parse(text) as Record<string, Record<string, string>>);
  const [mac = '', ip = '', six = ''] = [card?.MacAddress, card?.IPAddress, card?.GlobalIPv6Address];
  return { mac, ip, six, gateway: card?.Gateway ?? '', gateway6: card?.IPv6Gateway ?? '' };
}

/** Somebody that listens, in a network namespace or ('') the machine's own. */
async function listener(netns: string): Promise<{ port: number; saw(): string[] }> {
  const command = [process.execPath, '-e', LISTENER, '0'];
  const [program = '', ...args] = netns === '' ? command : ['nsenter', `--net=${netns}`, '--', ...command];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const said: string[] = [];
  const reader = createInterface({ input: child.stdout });
  const [port] = (await once(reader, 'line')) as [string];
  reader.on('line', (line: string) => said.push(line));
  return { port: Number(port), saw: () => said.splice(0) };
}

/** What a container's card receives while something is done, up to a frame with the text `end`, in hexadecimal. */
async function receivedBy(name: string, work: () => Promise<unknown>, end: () => Promise<unknown>): Promise<string[]> {
  const watching = spawn('docker', ['exec', name, '/frames', 'watch', 'the end'], {
    env: { ...process.env, DOCKER_HOST: stack.dockerHost },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(watching);
  const seen: string[] = [];
  const reader = createInterface({ input: watching.stdout });
  const [ready] = (await once(reader, 'line')) as [string];
  expect(ready).toBe('ready');
  reader.on('line', (line: string) => seen.push(line));
  const ended = once(watching, 'close');
  await work();
  await end();
  await ended;
  return seen;
}

async function send(...all: Buffer[]): Promise<void> {
  const input = all.map((one) => `${one.toString('hex')}\n`).join('');
  const { code, stderr } = await stack.dockerWith({ input }, 'exec', '-i', 'attacker', '/frames', 'send');
  expect([code, stderr]).toEqual([0, '']);
}

const hex = (text: string): string => Buffer.from(text).toString('hex');
/** A datagram of the gateway to a container, which the container's card is sure to receive. */
const endFor = (card: Card) => async (): Promise<unknown> =>
  inEndpoint('bash', '-c', `echo the end >/dev/udp/${card.ip}/9`);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-inside-'));
  const source = fileURLToPath(new URL('../support/wire/attack.c', import.meta.url));
  execFileSync('gcc', ['-static', '-w', '-Os', '-s', '-D_GNU_SOURCE', '-o', join(directory, 'attack'), source], {
    stdio: 'pipe',
  });
  frames = await compileFrames();
  world = await openOutsideWorld();
  stack = await startMirroredStack(['busybox']);
  for (const name of ['near', 'far']) await docker('network', 'create', ...(hasIpv6 ? ['--ipv6'] : []), name);
  const rights = ['--cap-add', 'NET_RAW', '--cap-add', 'NET_ADMIN'];
  for (const [name, network, ...options] of [
    ['attacker', 'near', ...rights],
    ['neighbour', 'near'],
    ['stranger', 'far'],
  ] as const) {
    await docker('create', '--name', name, '--network', network, ...options, 'busybox', 'sleep', '100000');
    await docker('cp', frames.path, `${name}:/frames`);
    if (name === 'attacker') await docker('cp', join(directory, 'attack'), `${name}:/attack`);
    await docker('start', name);
  }
  [attacker, neighbour, stranger] = [await cardOf('attacker'), await cardOf('neighbour'), await cardOf('stranger')];
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await stack?.stop();
  await world?.remove();
  frames?.remove();
  rmSync(directory, { recursive: true, force: true });
});

describe('a neighbour', () => {
  it.runIf(hasIpv6)('receives nothing that is sent in the name of somebody’s IPv6 address, and no routes', async () => {
    const { mac, six } = attacker;
    const text = udp(1000, 1000, 'spoofed');
    const bad = [
      ipv6(mac, neighbour.six, 'ff02::1', 17, text),
      ipv6(mac, attacker.gateway6, 'ff02::1', 17, text),
      ipv6(mac, stranger.six, 'ff02::1', 17, text),
      icmpv6(mac, six, 'ff02::1', 136, advertisement(neighbour.six, mac)),
      icmpv6(mac, six, 'ff02::1', 136, advertisement(attacker.gateway6, mac)),
      icmpv6(mac, six, 'ff02::1', 134, routerAdvertisement('2001:db8:dead::', mac)),
      ipv6(mac, six, 'ff02::1', 17, udp(547, 546, 'spoofed')),
      arp(2, { mac, ip: attacker.gateway }, { mac: neighbour.mac, ip: neighbour.ip }),
      arp(1, { mac, ip: neighbour.ip }, { mac: BROADCAST, ip: neighbour.ip }),
    ];
    const good = [
      ipv6(mac, six, 'ff02::1', 17, udp(1000, 1000, 'lawful')),
      icmpv6(mac, six, 'ff02::1', 136, advertisement(six, mac)),
      arp(1, { mac, ip: attacker.ip }, { mac: BROADCAST, ip: neighbour.ip }),
    ];
    const seen = await receivedBy('neighbour', () => send(...bad, ...good), endFor(neighbour));
    const arrived = (all: Buffer[]): boolean[] =>
      all.map((one) => seen.some((frame) => frame.startsWith(one.toString('hex'))));
    expect(arrived(good)).toEqual(good.map(() => true));
    expect(arrived(bad)).toEqual(bad.map(() => false));
    const table = await docker('exec', 'neighbour', 'ip', '-6', 'route');
    expect(table).not.toContain('2001:db8');
  });

  it('is not kept from its gateway by a storm of broadcasts', async () => {
    const echoes = async (): Promise<string> =>
      (await docker('exec', 'neighbour', 'ping', '-c', '5', '-i', '0.2', '-w', '20', neighbour.gateway)).match(
        /\d+ packets received/,
      )?.[0] ?? '';
    const [sent, received] = await Promise.all([attack('storm', '1500'), echoes()]);
    console.log(`a storm of ${sent} broadcasts in 1.5 s`);
    expect(Number(sent)).toBeGreaterThan(100);
    // Some may be lost in it, as on any network.
    expect(received).toMatch(/^[1-9]\d* packets received$/);
  });
});

describe('somebody on another network', () => {
  const text = 'from another network';
  const packet = udp(1000, 1000, text);

  it('receives nothing, however it is sent', async () => {
    const { mac, ip, gateway, six } = attacker;
    const cards = inEndpoint('ip', '-o', 'link').matchAll(/eth\d.*link\/ether (\S+)/g);
    const gateways = [...cards].map(([, one]) => one!);
    expect(gateways).toHaveLength(3);
    const to = [BROADCAST, stranger.mac, ...gateways];
    const plain = to.map((one) => ipv4(one, mac, ip, stranger.ip, 17, packet));
    const tagged = ['8100', '88a8'].flatMap((kind) =>
      [1, 2, 3, 100].flatMap((vlan) =>
        plain.map((one) =>
          Buffer.concat([
            one.subarray(0, 12),
            Buffer.from(kind + vlan.toString(16).padStart(4, '0'), 'hex'),
            one.subarray(12),
          ]),
        ),
      ),
    );
    const fragments = plain.map((one) => {
      const piece = Buffer.from(one);
      // More fragments follow; the header's checksum is one's complement arithmetic: what is added there is taken off here.
      piece[20] = piece[20]! | 0x20;
      piece.writeUInt16BE((piece.readUInt16BE(24) - 0x2000 + 0xffff) % 0xffff, 24);
      return piece;
    });
    const multicast = ['224.0.0.1', '224.0.0.251', '239.1.2.3'].map((group) =>
      ipv4('01:00:5e:00:00:01', mac, ip, group, 17, packet),
    );
    const over6 = hasIpv6
      ? to.flatMap((one) =>
          ['ff02::1', 'ff0e::1', stranger.six].map((target) => sentTo(one, ipv6(mac, six, target, 17, packet))),
        )
      : [];
    const other = to.map((one) => frame(one, mac, 0x88b5, Buffer.from(text.padEnd(46))));
    const seen = await receivedBy(
      'stranger',
      async () => {
        await send(...plain, ...tagged, ...fragments, ...multicast, ...over6, ...other);
        for (const outer of [gateway, stranger.gateway, stranger.ip]) await attack('tunnel', outer, stranger.ip);
      },
      endFor(stranger),
    );
    for (const mark of [hex(text), hex('through a tunnel'), mac.replaceAll(':', '')])
      expect(seen.filter((one) => one.includes(mark))).toEqual([]);
    expect(seen.some((one) => one.includes(hex('the end')))).toBe(true);
    // The neighbour receives what is for everybody, so the frames were sent.
    const near = await receivedBy('neighbour', () => send(plain[0]!, ...multicast, fragments[0]!), endFor(neighbour));
    expect(near.filter((one) => one.includes(hex(text)))).toHaveLength(5);
  });

  it('is not reached by changing the own address, route or MAC address', async () => {
    const network = stranger.ip.replace(/\d+$/, '');
    const tries = [
      'ip route add $IP dev eth0; ping -c 1 -W 1 $IP; ip route del $IP dev eth0',
      'ip route add $IP via $GATEWAY; ping -c 1 -W 1 $IP; ip route del $IP via $GATEWAY',
      'ip addr add $OTHER/24 dev eth0; ping -c 1 -W 1 -I $OTHER $IP; ip addr del $OTHER/24 dev eth0',
      'ip link set eth0 address $MAC; ping -c 1 -W 1 $IP; ip link set eth0 address $OWN',
    ].map((one) => `${one} >/dev/null 2>&1`);
    const values = {
      IP: stranger.ip,
      GATEWAY: attacker.gateway,
      OTHER: `${network}77`,
      MAC: stranger.mac,
      OWN: attacker.mac,
    };
    const variables = Object.entries(values).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
    const seen = await receivedBy(
      'stranger',
      () => stack.docker('exec', ...variables, 'attacker', 'sh', '-c', tries.join('\n')),
      endFor(stranger),
    );
    expect(seen.filter((one) => one.includes(attacker.mac.replaceAll(':', '')))).toEqual([]);
    // Nor does it get an answer to a question for one of those addresses.
    expect(seen.filter((one) => one.slice(24, 28) === '0806' && one.includes(hexOf(attacker.ip)))).toEqual([]);
    // What it does with its own address still works.
    await docker('exec', 'attacker', 'sh', '-c', `ip route replace default via ${attacker.gateway}`);
    await docker('exec', 'attacker', 'ping', '-c', '1', '-w', '10', neighbour.ip);
  });
});

const hexOf = (ip: string): string => Buffer.from(ip.split('.').map(Number)).toString('hex');

describe('the gateway', () => {
  it('answers on no port but that of names, whatever listens in its namespace', async () => {
    const own = await listener(endpointNamespace());
    // The scan would find it, were it let in.
    inEndpoint('bash', '-c', `cat </dev/tcp/127.0.0.1/${own.port}`);
    await expect.poll(() => own.saw()).toEqual(['tcp ::ffff:127.0.0.1']);
    const gateways = [attacker.gateway, ...(hasIpv6 ? [attacker.gateway6] : [])];
    const inside = [own.port, ...listeningIn(endpointNamespace())].filter((port) => port !== 53);
    for (const kind of ['tcp', 'udp'])
      expect([kind, await attack('scan', kind, attacker.gateway)]).toEqual([kind, '53']);
    expect(lines(await attack('knock', inside.slice(0, 40).join(), ...gateways))).toEqual([]);
    const others = inEndpoint('ip', '-o', 'addr', 'show', 'scope', 'global').matchAll(/inet6? ([0-9a-f.:]+)\//g);
    const foreign = [...others].map(([, one]) => one!).filter((one) => !gateways.includes(one));
    expect(foreign.length).toBeGreaterThanOrEqual(2);
    expect(lines(await attack('knock', [53, ...inside].slice(0, 40).join(), ...foreign))).toEqual([]);
    expect(own.saw()).toEqual([]);
    // A port that is served is reached, by the same means.
    inEndpoint('nft', 'add', 'element', 'inet', 'caisson_gateway', 'tcp_services', `{ ${own.port} }`);
    expect(lines(await attack('knock', String(own.port), attacker.gateway))).toEqual([
      `tcp ${attacker.gateway} ${own.port} answered`,
    ]);
    await expect.poll(() => own.saw()).toEqual([`tcp ::ffff:${attacker.ip}`]);
    inEndpoint('nft', 'delete', 'element', 'inet', 'caisson_gateway', 'tcp_services', `{ ${own.port} }`);
  });

  it('takes nothing for the loopback addresses of its namespace', async () => {
    const own = await listener(endpointNamespace());
    const card = /link\/ether (\S+)/.exec(inEndpoint('ip', '-o', 'link', 'show', 'dev', gatewayCard()))![1]!;
    const { mac, ip } = attacker;
    const ports = [own.port, ...listeningIn(endpointNamespace())];
    const all = ports.flatMap((port) =>
      ['127.0.0.1', '127.0.0.53', '0.0.0.0'].flatMap((target) => [
        ipv4(card, mac, ip, target, 6, tcpSyn(ip, target, 2000, port)),
        ipv4(card, mac, ip, target, 17, udp(2000, port, 'question')),
      ]),
    );
    await send(...all);
    await docker('exec', 'attacker', 'ping', '-c', '1', '-w', '10', attacker.gateway);
    expect(own.saw()).toEqual([]);
  });
});

/** The gateway's card on the attacker's network. */
const gatewayCard = (): string =>
  /\d+: (eth\d)/.exec(
    inEndpoint('ip', '-o', '-4', 'addr')
      .split('\n')
      .find((line) => line.includes(` ${attacker.gateway}/`))!,
  )![1]!;

/** Ports on which something listens there. */
function listeningIn(netns: string): number[] {
  const text = execFileSync('nsenter', [`--net=${netns}`, '--', 'ss', '-Hlntu'], { encoding: 'utf8' });
  return [...new Set([...text.matchAll(/:(\d+)\s+\S+:\*/g)].map(([, port]) => Number(port)))];
}

describe('the machine', () => {
  it('is reached on none of its addresses: not its services, not the Docker API, not hostd', async () => {
    const own = await listener('');
    const beyond = await listener(world.netns);
    const hostd = Number(new URL(stack.login().url).port);
    const addresses = Object.values(networkInterfaces()).flatMap((all = []) =>
      all.filter(({ family }) => family === 'IPv4' || hasIpv6).map(({ address }) => address),
    );
    const targets = [...addresses.filter((one) => !one.startsWith('127.') && !one.startsWith('fe80') && one !== '::1')];
    expect(targets).toContain(world.machine);
    const gateways = [attacker.gateway, stranger.gateway, ...(hasIpv6 ? [attacker.gateway6] : [])];
    const ports = [own.port, stack.port, hostd].join();
    expect(
      lines(await attack('knock', ports, ...targets, ...gateways)).filter((one) => one.endsWith('answered')),
    ).toEqual([]);
    // By frames to the gateway's card, for addresses that a container's own kernel would not send.
    const card = /link\/ether (\S+)/.exec(inEndpoint('ip', '-o', 'link', 'show', 'dev', gatewayCard()))![1]!;
    const { mac, ip } = attacker;
    const four = [...targets, '127.0.0.1', '127.0.0.53', '0.0.0.0', '255.255.255.255'].filter((one) =>
      one.includes('.'),
    );
    const forged = [own.port, stack.port, hostd].flatMap((port) =>
      four.flatMap((target) => [
        ipv4(card, mac, ip, target, 6, tcpSyn(ip, target, 2000, port)),
        ipv4(card, mac, ip, target, 17, udp(2000, port, 'question')),
      ]),
    );
    await send(...forged);
    // Somebody beyond the machine is reached in the same way, and later than all of these.
    expect(lines(await attack('knock', String(beyond.port), world.address)).sort()).toEqual([
      `tcp ${world.address} ${beyond.port} answered`,
      `udp ${world.address} ${beyond.port} answered`,
    ]);
    await expect
      .poll(() => beyond.saw().sort())
      .toEqual([`tcp ::ffff:${world.machine}`, `udp ::ffff:${world.machine}`]);
    expect(own.saw()).toEqual([]);
    // And the machine itself reaches what the container does not.
    execFileSync('bash', ['-c', `cat </dev/tcp/${world.machine}/${own.port}`]);
    await expect.poll(() => own.saw()).toEqual([`tcp ::ffff:${world.machine}`]);
    expect((await stack.docker('version')).code).toBe(0);
  });

  it('has no sockets for virtual machines', async () => {
    expect(await stack.docker('exec', 'attacker', '/attack', 'vsock').then(({ stdout }) => stdout.trim())).toMatch(
      /^vsock: /,
    );
  });
});
