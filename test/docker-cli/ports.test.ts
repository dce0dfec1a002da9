/** Published ports, from what `-p` takes to what follows a container's networks. `network-chaos.test.ts` kills parts of the engine. */
import { createSocket } from 'node:dgram';
import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasIpv6 } from '../support/ipv6.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry, type TestRegistry } from '../support/registry/registry.js';
import { freePort, type Stack, startStack } from '../support/stack.js';
import { endpointPid } from '../support/started.js';

let registry: TestRegistry;
let stack: Stack;
/** Of the machine's loopback, for containers. */
let listed: Server;
let unlisted: Server;
const listening = async (): Promise<Server> => {
  const server = createServer((socket) => socket.end('from the machine\n')).listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  return server;
};
const numberOf = (server: Server): number => (server.address() as { port: number }).port;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push(await testImage('echo'), 'library/busybox:latest');
  [listed, unlisted] = [await listening(), await listening()];
  const createOptions = ['--allow-host-ports', String(numberOf(listed))];
  stack = await startStack({ mirror: registry.address, createOptions });
});
afterAll(async () => {
  await stack?.stop();
  await registry?.stop();
  listed?.close();
  unlisted?.close();
});

/** The output of a docker command that has to succeed. */
async function docker(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await stack.docker(...args);
  expect(code, `docker ${args.join(' ')}: ${stderr}`).toBe(0);
  return stdout.trim();
}

/** Answers on 80 and 81 by HTTP with the port, and on 53 with each datagram. */
const SERVE =
  'mkdir /80 /81; echo 80 > /80/index.html; echo 81 > /81/index.html; httpd -p 80 -h /80; httpd -p 81 -h /81; exec echo-udp 53';

const get = (host: string, port: number): Promise<string> =>
  fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(5000), headers: { connection: 'close' } }).then(
    async (response) => (await response.text()).trim(),
    () => '',
  );

/** What a datagram is answered with; sent again until it is. */
function echoed(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4', (data) => {
      clearInterval(timer);
      socket.close();
      resolve(data.toString());
    });
    const timer = setInterval(() => socket.send('ping', port, '127.0.0.1'), 200);
  });
}

type Bindings = Record<string, { HostIp: string; HostPort: string }[] | null>;
const bindingsOf = async (name: string): Promise<Bindings> =>
  JSON.parse(await docker('inspect', '-f', '{{json .NetworkSettings.Ports}}', name)) as Bindings;

describe('one container', () => {
  let first: number;
  let ranged: number;
  let chosen: number;
  let udp: number;
  const works = async (): Promise<void> => {
    await expect.poll(() => get('127.0.0.1', first)).toBe('80');
    expect(await get('127.0.0.1', ranged)).toBe('81');
    expect(await get('127.0.0.1', chosen)).toBe('80');
    expect(await echoed(udp)).toBe('ping');
  };

  it('has ports by number, from a range, chosen, of TCP and UDP, on one address and on all', async () => {
    first = await freePort();
    const base = await freePort();
    const options = [
      ...['-p', `127.0.0.1:${first}:80`, '-p', `127.0.0.1:${first}:53/udp`, '-p', '80', '--expose', '99'],
      ...['-p', `127.0.0.1:${base}-${base + 5}:81`, ...(hasIpv6 ? ['-p', `[::1]:${first}:81`] : [])],
    ];
    await docker('run', '-d', '--name', 'all', ...options, 'busybox', 'sh', '-c', SERVE);
    udp = first;
    const ports = await bindingsOf('all');
    ranged = Number(ports['81/tcp']?.find(({ HostIp }) => HostIp === '127.0.0.1')?.HostPort);
    chosen = Number(ports['80/tcp']?.find(({ HostIp }) => HostIp === '0.0.0.0')?.HostPort);
    expect(ranged).toBeGreaterThanOrEqual(base);
    expect(ranged).toBeLessThanOrEqual(base + 5);
    expect(chosen).toBeGreaterThan(1023);
    expect(ports['99/tcp']).toBeNull();
    expect(ports['53/udp']).toEqual([{ HostIp: '127.0.0.1', HostPort: String(first) }]);
    await works();
    if (hasIpv6) {
      expect(await get('[::1]', first)).toBe('81');
      expect(await get('[::1]', chosen)).toBe('80');
    }
    expect((await docker('port', 'all', '53/udp')).split('\n')).toEqual([`127.0.0.1:${first}`]);
    const shown = await docker('ps', '--filter', 'name=all', '--format', '{{.Ports}}');
    for (const part of [
      `127.0.0.1:${first}->80/tcp`,
      `127.0.0.1:${first}->53/udp`,
      '99/tcp',
      `0.0.0.0:${chosen}->80/tcp`,
    ])
      expect(shown).toContain(part);
  });

  it('keeps another from taking one, in Docker’s words and before it is started', async () => {
    const port = numberOf(unlisted);
    const refusals = [
      [`127.0.0.1:${first}:80`, `Bind for 127.0.0.1:${first} failed: port is already allocated`],
      [`${chosen}:80`, `Bind for 0.0.0.0:${chosen} failed: port is already allocated`],
      [`127.0.0.1:${port}:80`, `failed to bind host port for 127.0.0.1:${port}`],
    ] as const;
    for (const [publish, message] of refusals) {
      const { stderr, code } = await stack.docker('run', '--name', 'late', '-p', publish, 'busybox', 'true');
      expect(code).toBe(125);
      expect(stderr).toContain('driver failed programming external connectivity on endpoint late');
      expect(stderr).toContain(message);
      expect(await docker('inspect', '-f', '{{.State.Status}} {{.State.StartedAt}}', 'late')).toBe(
        'created 0001-01-01T00:00:00Z',
      );
      await docker('rm', 'late');
    }
    const sctp = await stack.docker('run', '--rm', '-p', '80/sctp', 'busybox', 'true');
    expect(sctp.stderr).toContain('publishing sctp ports is not supported');
    expect(sctp.code).toBe(125);
  });

  it('keeps its ports when the engine is started again, chosen ones too', async () => {
    const before = await bindingsOf('all');
    await stack.restart();
    expect(await bindingsOf('all')).toEqual(before);
    await works();
  });

  it('has none while it is stopped, and others can have them meanwhile', async () => {
    await docker('stop', '-t', '0', 'all');
    expect(await bindingsOf('all')).toEqual({});
    expect(await docker('ps', '-a', '--filter', 'name=all', '--format', '{{.Ports}}')).toBe('');
    expect(await get('127.0.0.1', first)).toBe('');
    await docker('run', '--rm', '-p', `127.0.0.1:${first}:80`, 'busybox', 'true');
    await docker('start', 'all');
    chosen = Number((await bindingsOf('all'))['80/tcp']?.find(({ HostIp }) => HostIp === '0.0.0.0')?.HostPort);
    ranged = Number((await bindingsOf('all'))['81/tcp']?.find(({ HostIp }) => HostIp === '127.0.0.1')?.HostPort);
    await works();
  });

  it('takes what a client sends after it has closed its own side, and answers', async () => {
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      const socket = connect({ port: first, host: '127.0.0.1', allowHalfOpen: true });
      socket.on('data', (data) => {
        text += data.toString();
      });
      socket.on('end', () => resolve(text));
      socket.end('GET / HTTP/1.0\r\n\r\n');
    });
    expect(answer).toMatch(/^HTTP\/1\.[01] 200 OK[\s\S]*80\s*$/);
    await docker('rm', '-f', 'all');
    expect(await get('127.0.0.1', first)).toBe('');
  });
});

describe('networks', () => {
  let port: number;
  let chosen: number;
  const shown = async (): Promise<number[]> =>
    Object.values(await bindingsOf('moving')).flatMap((list) => (list ?? []).map(({ HostPort }) => Number(HostPort)));
  const reached = async (): Promise<string[]> => [await get('127.0.0.1', port), await get('127.0.0.1', chosen)];

  beforeAll(async () => {
    port = await freePort();
    for (const options of [['aa'], ['bb'], ['--internal', 'inner'], ['-o', 'caisson.egress=none', 'noway']])
      await docker('network', 'create', ...options);
    await docker(
      ...['run', '-d', '--name', 'moving', '--network', 'bb', '-p', `127.0.0.1:${port}:80`, '-p', '127.0.0.1::80'],
      ...['busybox', 'sh', '-c', SERVE],
    );
    chosen = (await shown()).find((one) => one !== port)!;
  });

  it('a container without the default network is reached, and its ports follow its main network with their numbers', async () => {
    await expect.poll(reached).toEqual(['80', '80']);
    await docker('network', 'connect', 'aa', 'moving');
    expect((await shown()).sort()).toEqual([port, chosen].sort());
    expect(await reached()).toEqual(['80', '80']);
    await docker('network', 'disconnect', 'bb', 'moving');
    expect((await shown()).sort()).toEqual([port, chosen].sort());
    expect(await reached()).toEqual(['80', '80']);
  });

  it('are as fast as the rate of its place on a network, and what they carry is counted', async () => {
    const size = 300_000;
    await docker('exec', 'moving', 'sh', '-c', `head -c ${size} /dev/zero > /80/big`);
    // Were it the network's rate that holds, this would take five minutes.
    await docker('network', 'create', '-o', 'caisson.egress-rate=8kbit', 'slow');
    await docker('network', 'connect', '--driver-opt', 'caisson.egress-rate=1mbit', 'slow', 'moving');
    await docker('network', 'disconnect', 'aa', 'moving');
    const began = performance.now();
    const answer = await fetch(`http://127.0.0.1:${port}/big`, { headers: { connection: 'close' } });
    expect((await answer.arrayBuffer()).byteLength).toBe(size);
    expect(performance.now() - began).toBeGreaterThan(2000);
    const { stdout } = await stack.vicMachine('network', 'usage', '--name', 'test');
    const [, address = '', sent = '', rate] = /^moving +slow +([\d.]+) +\d+ +(\d+) +\d+ +(\S+)$/m.exec(stdout) ?? [];
    expect(rate, stdout).toBe('1mbit');
    expect(await docker('inspect', '-f', '{{.NetworkSettings.Networks.slow.IPAddress}}', 'moving')).toBe(address);
    expect(Number(sent)).toBeGreaterThan(size);
    expect(Number(sent)).toBeLessThan(size + 10_000);
    const wrong = await stack.docker('network', 'create', '-o', 'caisson.egress-rate=fast', 'wrong');
    expect(wrong.stderr).toContain("caisson.egress-rate 'fast' is no rate");
    await docker('network', 'connect', 'aa', 'moving');
    await docker('network', 'disconnect', 'slow', 'moving');
  });

  it('on internal networks only it publishes nothing, and again once it is on another', async () => {
    await docker('network', 'connect', 'inner', 'moving');
    await docker('network', 'disconnect', 'aa', 'moving');
    expect(await bindingsOf('moving')).toEqual({});
    expect(await docker('port', 'moving')).toBe('');
    expect(await docker('ps', '--filter', 'name=moving', '--format', '{{.Ports}}')).toBe('');
    expect(await reached()).toEqual(['', '']);
    await docker('network', 'connect', 'noway', 'moving');
    chosen = (await shown()).find((one) => one !== port)!;
    expect(await reached()).toEqual(['80', '80']);
  });

  it('a port that is taken by the time it is wanted keeps a container from the network', async () => {
    await docker('network', 'disconnect', 'noway', 'moving');
    await docker('run', '-d', '--name', 'thief', '-p', `127.0.0.1:${port}:80`, 'busybox', 'sleep', '600');
    const { stderr, code } = await stack.docker('network', 'connect', 'aa', 'moving');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /driver failed programming external connectivity on endpoint moving \([0-9a-f]{64}\): Bind for/,
    );
    expect(await docker('inspect', '-f', '{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}', 'moving')).toBe(
      'inner',
    );
    await docker('rm', '-f', 'thief');
    await docker('network', 'connect', 'aa', 'moving');
    chosen = (await shown()).find((one) => one !== port)!;
    expect(await reached()).toEqual(['80', '80']);
  });

  it('an endpoint that is started again publishes what a container has now', async () => {
    const endpoint = endpointPid(stack.paths, 'test');
    process.kill(endpoint, 'SIGKILL');
    await expect.poll(() => ![null, endpoint].includes(endpointPid(stack.paths, 'test'))).toBe(true);
    await expect.poll(() => stack.docker('version').then(({ code }) => code)).toBe(0);
    expect((await shown()).sort()).toEqual([port, chosen].sort());
    expect(await reached()).toEqual(['80', '80']);
  });

  it('a listed port of the machine is reached by the name of its gateway, others and those of internal networks are not', async () => {
    const asked = `ask() { (sleep 1) | nc -w $2 $(sed -n 's/\\thost.docker.internal//p' /etc/hosts) $1 || echo refused; }`;
    const script = `${asked}; ask ${numberOf(listed)} 30; ask ${numberOf(unlisted)} 3`;
    const answer = (network: string): Promise<string> =>
      docker('run', '--rm', '--network', network, 'busybox', 'sh', '-c', `${script} 2>/dev/null`);
    const reached = 'from the machine\nrefused';
    expect(await Promise.all(['bridge', 'aa', 'noway', 'inner'].map(answer))).toEqual([
      ...[reached, reached, reached],
      'refused\nrefused',
    ]);
  });
});
