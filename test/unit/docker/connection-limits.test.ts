/** Slow and greedy clients: how many connections are kept, and for how long unfinished requests. */

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import express from 'express';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { GrowingBuffer } from '../../../appliance/docker/http/growing-buffer.js';
import { type DockerServer, dockerApp, listenDocker } from '../../../appliance/docker/server.js';
import { makeCertificates } from '../../../src/cli/certificates.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

const LIMIT = 3;
const PING = 'GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n';
const EVENTS = 'GET /events HTTP/1.1\r\nHost: d\r\n\r\n';
const path = join(tmpdir(), `caisson-limits-${process.pid}.sock`);

const handedPath = `${path}.handed`;

let engine: TestEngine;
let servers: DockerServer[];
let tcp: number;
let tls: number;
let handedTcp: number;
let handedTls: number;
let opened: Client[] = [];

beforeAll(async () => {
  engine = await startTestEngine();
  const app = dockerApp(engine.engine);
  const made = await makeCertificates('localhost', ['127.0.0.1'], 'Test');
  const encrypted = { cert: made.serverCert, key: made.serverKey };
  servers = [
    await listenDocker(app, { host: '127.0.0.1', port: 0, connections: LIMIT }),
    await listenDocker(app, { host: '127.0.0.1', port: 0, connections: LIMIT, tls: encrypted }),
    await listenDocker(app, { path, group: null, connections: LIMIT }),
    // As a porter hands them over.
    await listenDocker(app, { host: '127.0.0.1', port: 0, connections: LIMIT }, await listening({ port: 0 })),
    await listenDocker(
      app,
      { host: '127.0.0.1', port: 0, connections: LIMIT, tls: encrypted },
      await listening({ port: 0 }),
    ),
    await listenDocker(app, { path: handedPath, connections: LIMIT }, await listening({ path: handedPath })),
  ];
  [tcp = 0, tls = 0, , handedTcp = 0, handedTls = 0] = servers.map(({ address }) =>
    typeof address === 'string' ? 0 : address.port,
  );
});

afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()));
  await engine.close();
});

afterEach(() => {
  for (const { socket } of opened) socket.destroy();
  opened = [];
});

/** A client that keeps what it received. */
class Client {
  text = '';
  closed = false;

  constructor(readonly socket: Socket) {
    opened.push(this);
    socket.setNoDelay(true);
    socket.on('data', (data) => {
      this.text += data.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.once('end', () => {
      this.closed = true;
    });
    socket.once('close', () => {
      this.closed = true;
    });
  }

  /** Sends, and waits for an answer that contains the given text. */
  async ask(bytes: string, wanted = 'OK'): Promise<this> {
    this.socket.write(bytes);
    await expect.poll(() => this.text).toContain(wanted);
    return this;
  }
}

async function listening(where: { port: number } | { path: string }): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) =>
    server.listen({ ...('port' in where ? { host: '127.0.0.1' } : {}), ...where }, resolve),
  );
  return server;
}

const places = {
  TCP: (): Client => new Client(connect({ port: tcp, host: '127.0.0.1' })),
  TLS: (): Client => new Client(tlsConnect({ port: tls, host: '127.0.0.1', rejectUnauthorized: false })),
  'the unix socket': (): Client => new Client(connect(path)),
  'TCP that was handed over': (): Client => new Client(connect({ port: handedTcp, host: '127.0.0.1' })),
  'TLS that was handed over': (): Client =>
    new Client(tlsConnect({ port: handedTls, host: '127.0.0.1', rejectUnauthorized: false })),
  'a unix socket that was handed over': (): Client => new Client(connect(handedPath)),
};

describe.each(Object.entries(places))('on %s', (name, client) => {
  it('the connection idle longest is closed to make room for another', async () => {
    const first = await client().ask(PING);
    const second = await client().ask(PING);
    const third = await client().ask(PING);
    first.text = '';
    await first.ask(PING);
    await client().ask(PING);
    await expect.poll(() => second.closed).toBe(true);
    expect([first.closed, third.closed]).toEqual([false, false]);
  });

  it('half heads and silent clients keep nobody out', async () => {
    for (let i = 0; i < 4 * LIMIT; i++) client().socket.write(i % 2 === 0 ? 'GET /_pi' : '');
    await client().ask(PING);
  });

  it('requests under way are not ended: a client too many is refused with a message', async () => {
    const busy = [];
    for (let i = 0; i < LIMIT; i++) busy.push(await client().ask(EVENTS, '200 OK'));
    const late = client();
    if (!name.startsWith('TLS')) await late.ask(PING, 'too many connections');
    await expect.poll(() => late.closed).toBe(true);
    if (!name.startsWith('TLS'))
      expect(late.text).toMatch(/^HTTP\/1\.1 503 [\s\S]*Connection: close\r\n\r\n\{"message":"too many/);
    expect(busy.map(({ closed }) => closed)).toEqual(busy.map(() => false));
    // Whoever ends one may open another.
    busy[0]!.socket.destroy();
    await expect
      .poll(async () => {
        const next = client();
        next.socket.write(PING);
        await expect.poll(() => next.closed || next.text !== '').toBe(true);
        return next.text;
      })
      .toContain('OK');
  });
});

it('exhausting TCP connections keeps nobody from the unix socket', async () => {
  for (let i = 0; i < LIMIT; i++) await places.TCP().ask(EVENTS, '200 OK');
  await places['the unix socket']().ask(PING);
});

describe('an unfinished request', () => {
  const head = (line: string, ...headers: string[]): string => [line, 'Host: d', ...headers, '', ''].join('\r\n');
  const JSON_TYPE = 'Content-Type: application/json';
  const create = 'POST /containers/create HTTP/1.1';
  const UPGRADE = ['Connection: Upgrade', 'Upgrade: tcp'];

  /** How many requests for `/streamed` the server has begun to serve. */
  let streamed = 0;

  /**
   * Sends an unfinished request, and lets time pass until the connection ends, but at most `times` times.
   * @param ready no time passes before that: on a busy machine the server needs longer than one step to read the bytes
   */
  async function waiting(seconds: number, bytes: string, times = 200, ready = () => true): Promise<Client> {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const client = unhurried();
      client.socket.write(bytes);
      // Intervals are real: they give the server time to read what has arrived.
      const step = (): Promise<unknown> => new Promise((done) => setInterval(done, 20).unref());
      while (!ready() && !client.closed) await step();
      for (let i = 0; i < times && !client.closed; i++) {
        await step();
        vi.advanceTimersByTime(seconds * 1000);
      }
      return client;
    } finally {
      vi.useRealTimers();
    }
  }

  let server: DockerServer;
  const unhurried = (): Client =>
    new Client(connect({ port: (server.address as AddressInfo).port, host: '127.0.0.1' }));

  beforeAll(async () => {
    const app = express();
    app.post('/streamed', (request, response) => {
      streamed++;
      request.pipe(response);
    });
    app.use(dockerApp(engine.engine));
    server = await listenDocker(app, { host: '127.0.0.1', port: 0 });
  });
  afterAll(() => server.close());

  it.each([
    ['half of a JSON body', `${head(create, JSON_TYPE, 'Content-Length: 20')}{"Image"`],
    ['a JSON body of which nothing comes', head(create, JSON_TYPE, 'Content-Length: 20')],
    ['half of a chunk', `${head(create, JSON_TYPE, 'Transfer-Encoding: chunked')}20\r\n{`],
    ['half of a chunk’s size', `${head(create, JSON_TYPE, 'Transfer-Encoding: chunked')}2`],
    [
      'half of a body beside Upgrade',
      `${head('POST /exec/x/start HTTP/1.1', ...UPGRADE, JSON_TYPE, 'Content-Length: 20')}{`,
    ],
  ])('with %s is answered after a minute, and the connection ends', async (_, bytes) => {
    const client = await waiting(61, bytes);
    await expect.poll(() => client.text).toMatch(/^HTTP\/1\.1 400 [\s\S]*nothing in 60 seconds/);
    await expect.poll(() => client.closed).toBe(true);
  });

  it('with a body that nobody reads is answered, and the connection ends a minute later', async () => {
    const client = await waiting(61, `${head('GET /_ping HTTP/1.1', 'Content-Length: 20')}x`);
    expect(client.text).toContain('OK');
    await expect.poll(() => client.closed).toBe(true);
  });

  it('with a streamed body has no time limit', async () => {
    const before = streamed;
    const request = `${head('POST /streamed HTTP/1.1', 'Content-Length: 4')}abc`;
    const client = await waiting(24 * 3600, request, 10, () => streamed > before);
    client.socket.write('d');
    await expect.poll(() => client.text).toMatch(/abc\r\n1\r\nd\r\n0/);
  });

  it('with a body that trickles in has five minutes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const client = unhurried();
      client.socket.write(head(create, JSON_TYPE, 'Content-Length: 1000'));
      for (let i = 0; i < 200 && client.text === ''; i++) {
        client.socket.write(' ');
        await new Promise((done) => setInterval(done, 20).unref());
        vi.advanceTimersByTime(10_000);
      }
      expect(client.text).toMatch(/not all of it in 300 seconds/);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('bytes that arrive one by one', () => {
  it('are joined without copying everything again for each', () => {
    const buffer = new GrowingBuffer();
    const stores = new Set<ArrayBufferLike>();
    const text = 'abcdefghij'.repeat(20_000);
    for (const byte of Buffer.from(text)) {
      buffer.append(Buffer.from([byte]));
      stores.add(buffer.bytes.buffer);
    }
    expect(buffer.bytes.toString()).toBe(text);
    // Each of these is a full copy: doubling needs 9 for 200,000 bytes.
    expect(stores.size).toBeLessThan(12);
  });

  it('do not change pieces that were already taken', () => {
    const buffer = new GrowingBuffer();
    const taken: Buffer[] = [];
    for (let i = 0; i < 5000; i++) {
      buffer.append(Buffer.from(`${i},`));
      if (i % 7 !== 0) continue;
      const count = Math.floor(buffer.bytes.length / 2);
      taken.push(buffer.bytes.subarray(0, count));
      buffer.drop(count);
    }
    const expected = Array.from({ length: 5000 }, (_, i) => `${i},`).join('');
    expect(Buffer.concat([...taken, buffer.bytes]).toString()).toBe(expected);
  });

  it('still make a request', async () => {
    const client = places.TCP();
    const bytes = `GET /_ping HTTP/1.1\r\nHost: d\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`;
    for (const byte of bytes) client.socket.write(byte);
    await expect.poll(() => client.text).toContain('OK');
  });
});
