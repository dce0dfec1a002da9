/** Web pages have no access to the API. */
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerRouter } from '../../../appliance/docker/routes.js';
import { type DockerServer, dockerApp, listenDocker } from '../../../appliance/docker/server.js';
import { startTestEngine, type TestEngine } from '../../support/docker-engine.js';

let engine: TestEngine;
let local: DockerServer;
const path = join(tmpdir(), `caisson-guard-${process.pid}.sock`);
beforeAll(async () => {
  engine = await startTestEngine();
  local = await listenDocker(dockerApp(engine.engine), { path });
});
afterAll(async () => {
  await local.close();
  await engine.close();
});

/** The status of a request with these headers; an upgrade's too. */
function status(
  method: string,
  url: string,
  headers: Record<string, string>,
  where: { port: number } | { socketPath: string } = { port: engine.port },
): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...where, host: '127.0.0.1', method, path: url, headers, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    sent.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve(response.statusCode ?? 0);
    });
    sent.once('error', reject);
    sent.end();
  });
}

/** Requests of each kind: plain, one that changes something, streams, and those that become WebSockets. */
const REQUESTS: [method: string, url: string, headers: Record<string, string>][] = [
  ['GET', '/_ping', {}],
  ['GET', '/v1.47/containers/json', {}],
  ['POST', '/v1.47/images/create?fromImage=busybox', {}],
  ['POST', '/containers/prune', {}],
  ['POST', '/containers/x/attach?stream=1&stdin=1', { 'content-type': 'text/plain' }],
  ['POST', '/containers/x/attach?stream=1', { connection: 'Upgrade', upgrade: 'tcp' }],
  ['POST', '/exec/x/start', { connection: 'Upgrade', upgrade: 'tcp' }],
  ['POST', '/session', { connection: 'Upgrade', upgrade: 'h2c' }],
  [
    'GET',
    '/containers/x/attach/ws?stream=1&stdin=1',
    {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    },
  ],
  ['OPTIONS', '/containers/json', {}],
  ['GET', '/nothing-of-that-name', {}],
];

describe.each(REQUESTS)('%s %s', (method, url, headers) => {
  const host = (): string => `127.0.0.1:${engine.port}`;

  test('is refused to a page whose name was rebound to this machine’s address', async () => {
    for (const foreign of [
      'evil.example',
      `evil.example:${engine.port}`,
      '127.0.0.1.evil.example',
      'localhost.evil.example:80',
      `${hostname().split('.')[0]}.evil.example`,
      // Not a host name with a port, whatever it begins or ends with.
      'evil.example:port',
      'evil.example:80:80',
      'me:word@evil.example:80',
      '[::1].evil.example',
      '[::1]:80.evil.example',
      '[evil.example]',
    ])
      expect([foreign, await status(method, url, { ...headers, host: foreign })]).toEqual([foreign, 403]);
    for (const target of ['http://evil.example', 'http://evil.example:80:80', 'http://x@evil.example'])
      expect(await status(method, `${target}${url}`, { ...headers, host: host() })).toBe(403);
    expect(await status(method, `http://${host()}${url}`, { ...headers, host: 'evil.example' })).toBe(403);
  });

  test('is refused to a page of another site', async () => {
    for (const origin of ['https://evil.example', 'null', `http://localhost:${engine.port + 1}`, 'file://'])
      expect(await status(method, url, { ...headers, host: host(), origin })).toBe(403);
    for (const site of ['cross-site', 'same-site'])
      expect(await status(method, url, { ...headers, host: host(), 'sec-fetch-site': site })).toBe(403);
  });

  test('is answered to clients, whatever name they use for this machine', async () => {
    for (const known of [
      'localhost:2375',
      'localhost.',
      '[::1]:2375',
      '192.0.2.7',
      'docker:2375',
      hostname(),
      'engine.localhost',
    ])
      expect(await status(method, url, { ...headers, host: known })).not.toBe(403);
    expect(await status(method, url, { ...headers, host: host(), origin: `http://${host()}` })).not.toBe(403);
    expect(await status(method, url, { ...headers, host: host(), 'sec-fetch-site': 'none' })).not.toBe(403);
  });

  test('is answered on a unix socket, which no browser can reach', async () => {
    const answer = await status(method, url, { ...headers, host: 'evil.example' }, { socketPath: path });
    expect(answer).not.toBe(403);
  });
});

test('a request is judged by the socket it came in on, even when the client is already gone', async () => {
  // What Node reports for a socket whose other end is gone.
  const opened = createServer((socket) => Object.defineProperty(socket, 'remoteAddress', { value: undefined }));
  await new Promise<void>((resolve) => opened.listen(0, '127.0.0.1', resolve));
  const server = await listenDocker(dockerApp(engine.engine), { host: '127.0.0.1', port: 0 }, opened);
  const { port } = opened.address() as AddressInfo;
  expect(await status('GET', '/_ping', { host: 'evil.example' }, { port })).toBe(403);
  await server.close();
});

test('the refusal says what to do about it', async () => {
  const answer = await engine.call('GET', '/containers/json', undefined, { host: 'evil.example' });
  expect(answer.json.message).toMatch(/"evil\.example" is not this machine's: use its address, or TLS/);
});

describe('every route', () => {
  const UPGRADES: Record<string, string>[] = [
    {},
    { connection: 'Upgrade', upgrade: 'tcp' },
    { connection: 'Upgrade', upgrade: 'h2c' },
    {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    },
  ];

  /** The router's routes, with a value for each parameter in a path. */
  function routes(): [method: string, path: string][] {
    return dockerRouter(engine.engine).stack.flatMap(({ route }) => {
      if (route === undefined) return [];
      // The methods exist, but no type declares them.
      const { path, methods } = route as unknown as { path: string; methods: Record<string, boolean> };
      const plain = path.replace(/[:*]\w+|[{}]/g, (word) => (word.length === 1 ? '' : 'x'));
      return Object.keys(methods).map((method): [string, string] => [method.toUpperCase(), plain]);
    });
  }

  test('is closed to web pages, with and without an upgrade, in every version of its path', async () => {
    const table = routes();
    expect(table.length).toBeGreaterThan(80);
    const own = `127.0.0.1:${engine.port}`;
    const foreign: Record<string, string>[] = [
      { host: 'evil.example' },
      { host: own, origin: 'https://evil.example' },
      { host: own, 'sec-fetch-site': 'cross-site' },
    ];
    const answers = new Set<string>();
    for (const [method, path] of table)
      await Promise.all(
        UPGRADES.flatMap((upgrade, index) =>
          foreign.map(async (from) => {
            const headers = { ...upgrade, ...from };
            const url = `${index % 2 === 0 ? '' : '/v1.24'}${path}`;
            const code = await status(method, url, headers);
            answers.add(code === 403 ? '403' : `${method} ${url} ${JSON.stringify(headers)}: ${code}`);
          }),
        ),
      );
    expect([...answers]).toEqual(['403']);
  });
});
