import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OwnGateway } from '../../../appliance/gateway/gateway.js';
import { PortMapper, type PublishedPort, parsePort, wantedPorts } from '../../../appliance/gateway/published-ports.js';
import { compiledRelay } from '../../support/docker-engine.js';
import { hasIpv6 } from '../../support/ipv6.js';

const SAID = 50_000;

const at = (address: string) => ({ address, address6: '' });

describe('the requested ports', () => {
  it('come from bindings and, with -P, from the exposed ports', () => {
    expect(
      wantedPorts(
        {
          '80/tcp': [{ HostPort: '8080' }, { HostIp: '127.0.0.1', HostPort: '' }],
          '53/udp': [{ HostIp: '::1', HostPort: '8000-8010' }],
          '9/tcp': null,
          '10/tcp': [],
        },
        ['80/tcp', '81'],
        true,
      ),
    ).toEqual([
      { containerPort: 80, protocol: 'tcp', hostIp: '', hostPort: 8080 },
      { containerPort: 80, protocol: 'tcp', hostIp: '127.0.0.1', hostPort: 0 },
      { containerPort: 53, protocol: 'udp', hostIp: '::1', hostPort: 8000, lastHostPort: 8010 },
      { containerPort: 81, protocol: 'tcp', hostIp: '', hostPort: 0 },
    ]);
    expect(parsePort('80')).toEqual({ port: 80, protocol: 'tcp' });
    expect(parsePort('80/UDP')).toEqual({ port: 80, protocol: 'udp' });
  });

  it('are published in an order in which a range leaves alone what is asked for by number', () => {
    const wanted = wantedPorts(
      { '80/tcp': [{ HostPort: '8090-8093' }, { HostPort: '' }], '81/tcp': [{ HostPort: '8090' }] },
      [],
      false,
    );
    expect(wanted.map(({ hostPort, lastHostPort }) => lastHostPort ?? hostPort)).toEqual([8090, 8093, 0]);
  });

  it.each([
    [{ x: [] }, 'invalid port specification: "x"'],
    [{ '0/tcp': [] }, 'invalid port specification: "0"'],
    [{ '70000/tcp': [] }, 'invalid port specification: "70000"'],
    [{ '80/foo': [] }, 'invalid proto: foo'],
    [{ '80/sctp': [] }, 'publishing sctp ports is not supported'],
    [{ '80/tcp': [{ HostPort: 'abc' }] }, 'invalid port specification: "abc"'],
    [{ '80/tcp': [{ HostPort: '99999' }] }, 'invalid port specification: "99999"'],
    [{ '80/tcp': [{ HostPort: '9-8' }] }, 'invalid port specification: "9-8"'],
    [{ '80/tcp': [{ HostIp: 'nope' }] }, 'invalid IP address for a published port: "nope"'],
  ])('%j is refused', (bindings, message) => {
    expect(() => wantedPorts(bindings, [], false)).toThrow(message);
  });
});

describe('published ports', () => {
  let worker: OwnGateway;
  let ports: PortMapper;
  let inside: Server;
  let deaths: () => void = () => undefined;
  /** What the container does with a connection. */
  let serve: (socket: Socket) => void;

  beforeAll(async () => {
    worker = new OwnGateway(() => deaths(), await compiledRelay());
    await worker.start();
    inside = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      serve(socket);
    });
    inside.listen(0, '127.0.0.1');
    await once(inside, 'listening');
  });
  afterAll(() => {
    worker.stop();
    inside.close();
  });
  beforeEach(() => {
    ports = new PortMapper(worker);
  });
  afterEach(() => ports.release('c'));

  const publish = async (
    protocol: 'tcp' | 'udp' = 'tcp',
    containerPort = (inside.address() as { port: number }).port,
  ) => {
    const [port] = await ports.reserve('c', 'name', [{ containerPort, protocol, hostIp: '127.0.0.1', hostPort: 0 }]);
    return port!.hostPort;
  };
  const dial = (port: number): Socket =>
    connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined);
  const all = (socket: Socket): Promise<string> =>
    new Promise((resolve) => {
      let text = '';
      socket.on('data', (data) => {
        text += String(data);
      });
      socket.once('end', () => {
        socket.end();
        resolve(text);
      });
      socket.once('error', () => resolve(`error after ${text.length} bytes`));
    });
  const refused = (port: number): Promise<unknown> =>
    new Promise((resolve) =>
      dial(port)
        .once('connect', () => resolve(false))
        .once('error', () => resolve(true)),
    );

  it('carry connections whose directions end independently', async () => {
    serve = (socket) => {
      let length = 0;
      let first = '';
      socket.on('data', (data) => {
        length += data.length;
        first = (first + String(data)).slice(0, 5);
      });
      socket.once('end', () => socket.end(`${length} ${first}`));
    };
    const port = await publish();
    expect(port).toBeGreaterThan(0);
    ports.activate('c', at('127.0.0.1'));
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const socket = dial(port);
        socket.end(String(i).repeat(200_000));
        return all(socket);
      }),
    );
    expect(answers).toEqual(
      Array.from({ length: 20 }, (_, i) => `${200_000 * String(i).length} ${String(i).repeat(5).slice(0, 5)}`),
    );
  });

  it('connections made before the container is up wait for it', async () => {
    serve = (socket) => socket.end('late');
    const port = await publish();
    const early = dial(port);
    const gone = dial(port);
    await Promise.all([once(early, 'connect'), once(gone, 'connect')]);
    gone.destroy();
    ports.activate('c', at('127.0.0.1'));
    expect(await all(early)).toBe('late');
  });

  it('a slow reader slows the writer', async () => {
    let written = 0;
    serve = (socket) => {
      const block = Buffer.alloc(65_536);
      const pump = (): void => {
        while (!socket.destroyed && socket.write(block)) written += block.length;
      };
      socket.on('drain', pump);
      pump();
    };
    const port = await publish();
    ports.activate('c', at('127.0.0.1'));
    const socket = dial(port);
    socket.pause();
    await once(socket, 'connect');
    let before = -1;
    const settled = (): boolean => {
      const same = written > 0 && written === before;
      before = written;
      return same;
    };
    await expect.poll(settled, { interval: 300 }).toBe(true);
    expect(written).toBeLessThan(32 * 2 ** 20);
    socket.destroy();
  });

  it('what one side sent before it closed reaches the other, whose further data is dropped', async () => {
    // The container answers without reading everything and closes, like a server that refuses an upload.
    // The answer fits into a connection's first window: its own kernel would drop the unsent part of a longer one.
    serve = (socket) => socket.once('data', () => socket.write('x'.repeat(SAID), () => socket.destroy()));
    const port = await publish();
    ports.activate('c', at('127.0.0.1'));
    const socket = dial(port);
    socket.pause();
    const upload = setInterval(() => socket.write('y'.repeat(1000)), 5);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const answer = all(socket);
    socket.resume();
    expect((await answer).length).toBe(SAID);
    clearInterval(upload);
  });

  it('the connection is closed if nobody listens inside; release closes the port', async () => {
    const port = await publish('tcp', 1);
    ports.activate('c', at('127.0.0.1'));
    const socket = dial(port);
    await new Promise((closed) => socket.once('close', closed));
    ports.release('c');
    await expect.poll(() => refused(port)).toBe(true);
  });

  it('a taken port is refused with Docker’s message, and none of the others stays open', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const request = { containerPort: 80, protocol: 'tcp' as const, hostIp: '127.0.0.1' };
    const free = await publish();
    ports.release('c');
    await expect.poll(() => refused(free)).toBe(true);
    await expect(
      ports.reserve('c', 'web', [
        { ...request, hostPort: free },
        { ...request, hostPort: port },
      ]),
    ).rejects.toThrow(
      new RegExp(
        `^failed to set up container networking: driver failed programming external connectivity on endpoint web \\([0-9a-f]{64}\\): failed to bind host port for 127.0.0.1:${port}:80/tcp: address already in use$`,
      ),
    );
    // A port published by another container is "allocated", not "in use".
    const [held] = await ports.reserve('other', 'other', [{ ...request, hostPort: 0 }]);
    for (const hostIp of ['127.0.0.1', '0.0.0.0'])
      await expect(ports.reserve('c', 'web', [{ ...request, hostIp, hostPort: held!.hostPort }])).rejects.toThrow(
        `: Bind for ${hostIp}:${held!.hostPort} failed: port is already allocated`,
      );
    ports.release('other');
    await expect.poll(() => refused(held!.hostPort)).toBe(true);
    expect(ports.portsOf('c')).toEqual([]);
    await expect.poll(() => refused(free)).toBe(true);
    // From a range the next free port is taken.
    const [ranged] = await ports.reserve('c', 'web', [
      { ...request, hostPort: port, lastHostPort: Math.min(65535, port + 50) },
    ]);
    expect(ranged!.hostPort).toBeGreaterThan(port);
    expect(ranged).not.toHaveProperty('lastHostPort');
    taken.close();
  });

  it.runIf(hasIpv6)('are the same on all addresses of both families, or open on none', async () => {
    serve = (socket) => socket.end('here');
    const containerPort = (inside.address() as { port: number }).port;
    const request = { containerPort, protocol: 'tcp' as const, hostIp: '', hostPort: 0 };
    const both = await ports.reserve('c', 'web', [request, { ...request, protocol: 'udp' }]);
    ports.activate('c', at('127.0.0.1'));
    expect(both.map(({ protocol, hostIp }) => `${protocol} ${hostIp}`)).toEqual([
      'tcp 0.0.0.0',
      'tcp ::',
      'udp 0.0.0.0',
      'udp ::',
    ]);
    const { hostPort } = both[0]!;
    expect(both[1]!.hostPort).toBe(hostPort);
    expect(both[3]!.hostPort).toBe(both[2]!.hostPort);
    for (const host of ['127.0.0.1', '::1']) expect(await all(connect({ port: hostPort, host }))).toBe('here');
    ports.release('c');
    await expect.poll(() => refused(hostPort)).toBe(true);
    const taken = createServer().listen({ host: '::', port: 0, ipv6Only: true });
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    await expect(ports.reserve('c', 'web', [{ ...request, hostPort: port }])).rejects.toThrow(
      `failed to bind host port for :::${port}:${containerPort}/tcp: address already in use`,
    );
    await expect.poll(() => refused(port)).toBe(true);
    taken.close();
  });

  it('carry datagrams, and each client gets its own answers', async () => {
    const echo = createSocket('udp4', (data, from) => echo.send(`${data} back`, from.port, from.address));
    echo.bind(0, '127.0.0.1');
    await once(echo, 'listening');
    const hostIps = ['127.0.0.1', ...(hasIpv6 ? ['::1'] : [])];
    const containerPort = echo.address().port;
    const published = await ports.reserve(
      'c',
      'name',
      hostIps.map((hostIp) => ({ containerPort, protocol: 'udp', hostIp, hostPort: 0 })),
    );
    ports.activate('c', at('127.0.0.1'));
    const ask = (text: string, { hostIp, hostPort }: PublishedPort): Promise<string> =>
      new Promise((resolve) => {
        const client = createSocket(isIPv6(hostIp) ? 'udp6' : 'udp4', (data) => {
          clearInterval(timer);
          client.close();
          resolve(data.toString());
        });
        const timer = setInterval(() => client.send(text, hostPort, hostIp), 50);
      });
    const asked = published.flatMap((port) => [ask('one', port), ask('two', port)]);
    expect(await Promise.all(asked)).toEqual(published.flatMap(() => ['one back', 'two back']));
    echo.close();
  });

  it('are published only at or above the lowest allowed port, and only on allowed addresses', async () => {
    ports = new PortMapper(worker, { lowestPort: 1024, addresses: ['127.0.0.1'] });
    const wanted = { containerPort: 80, protocol: 'tcp' as const, hostIp: '', hostPort: 0 };
    await expect(ports.reserve('c', 'name', [{ ...wanted, hostPort: 80 }])).rejects.toThrow(
      ':80:80/tcp may not be published: only ports from 1024 on may be',
    );
    for (const hostIp of ['0.0.0.0', '::', '127.0.0.2'])
      await expect(ports.reserve('c', 'name', [{ ...wanted, hostIp }])).rejects.toThrow('only addresses 127.0.0.1');
    expect(ports.portsOf('c')).toEqual([]);
    const published = await ports.reserve('c', 'name', [wanted]);
    expect(published).toMatchObject([{ hostIp: '127.0.0.1' }]);
  });

  it("pass on only the service's datagrams, and follow a container to its new address", async () => {
    // It tells a stranger where the request came from, and answers only after the stranger has sent there.
    const stranger = createSocket('udp4');
    stranger.bind(0, '127.0.0.1');
    const service = (text: string): UdpSocket =>
      createSocket('udp4', (_, from) => {
        stranger.send('forged', from.port, from.address, () => service1.send(text, from.port, from.address));
      });
    const service1 = service('true');
    service1.bind(0, '127.0.0.1');
    await Promise.all([once(stranger, 'listening'), once(service1, 'listening')]);
    const wanted = {
      containerPort: service1.address().port,
      protocol: 'udp' as const,
      hostIp: '127.0.0.1',
      hostPort: 0,
    };
    const [port] = await ports.reserve('c', 'name', [wanted]);
    ports.activate('c', at('127.0.0.1'));
    const answers: string[] = [];
    const client = createSocket('udp4', (data) => answers.push(data.toString()));
    const ask = async (): Promise<void> => {
      const before = answers.length;
      while (answers.length === before) {
        client.send('?', port!.hostPort, '127.0.0.1');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    for (let asked = 0; asked < 5; asked++) await ask();
    expect([...new Set(answers)]).toEqual(['true']);
    const moved = createSocket('udp4', (_, from) => moved.send('moved', from.port, from.address));
    moved.bind(wanted.containerPort, '127.0.0.2');
    await once(moved, 'listening');
    ports.activate('c', at('127.0.0.2'));
    answers.length = 0;
    await ask();
    expect([...new Set(answers)]).toEqual(['moved']);
    for (const socket of [stranger, service1, client, moved]) socket.close();
  });

  it('come back with the same numbers after the worker dies, also those of a container that has not started yet', async () => {
    serve = (socket) => socket.end('alive');
    const port = await publish();
    ports.activate('c', at('127.0.0.1'));
    const containerPort = (inside.address() as { port: number }).port;
    const [early] = await ports.reserve('early', 'early', [
      { containerPort, protocol: 'tcp', hostIp: '127.0.0.1', hostPort: 0 },
    ]);
    expect(await all(dial(port))).toBe('alive');
    const restored = new Promise<void>((resolve) => {
      deaths = () => void ports.republish().then(resolve);
    });
    const { child } = (worker as unknown as { relay: { child: { pid: number } } }).relay;
    process.kill(child.pid, 'SIGKILL');
    await restored;
    expect(await all(dial(port))).toBe('alive');
    const waits = all(dial(early!.hostPort));
    ports.activate('early', at('127.0.0.1'));
    expect(await waits).toBe('alive');
    ports.release('early');
  });

  it('a gateway without a porter reaches the networks that its machine has an address on', () => {
    const own = new OwnGateway(
      () => undefined,
      '',
      () => ['127.0.0.1', '172.18.0.1', 'fd00:1::1'],
    );
    const subnets = [['172.18.0.0/16'], ['172.19.0.0/16'], ['172.19.0.0/16', 'fd00:1::/64'], ['fd00:2::/64'], []];
    expect(subnets.map((list) => own.reaches(list))).toEqual([true, false, true, false, false]);
  });

  it('a container without IPv4 is reached by IPv6, and one with both from each by the same', async () => {
    const led: string[] = [];
    const gateway = {
      publish: async (_id: number, _protocol: string, _host: string, port: number) => port || 1,
      target: (id: number, address: string, port: number) => void led.push(`${id} ${address} ${port}`),
      close: () => undefined,
    };
    const mapper = new PortMapper(gateway as never);
    await mapper.reserve('c', 'name', [{ containerPort: 80, protocol: 'tcp', hostIp: '', hostPort: 8080 }]);
    mapper.activate('c', { address: '172.18.0.2', address6: 'fd00::2' });
    mapper.activate('c', { address: '172.18.0.2', address6: '' });
    mapper.activate('c', { address: '', address6: 'fd00::2' });
    expect(led).toEqual([
      ...['1 172.18.0.2 80', '2 fd00::2 80'],
      ...['1 172.18.0.2 80', '2 172.18.0.2 80'],
      ...['1 fd00::2 80', '2 fd00::2 80'],
    ]);
  });
});
