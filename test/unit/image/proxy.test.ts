import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DEFAULT_TIMEOUTS, HttpClient, readBody } from '../../../appliance/image/http.js';

/** Loopback addresses stand for hosts elsewhere, which the proxy alone can reach: names that nobody else knows. */
let servers: Server[];
let client: HttpClient;
let asked: IncomingMessage[];
let tunnels: string[];
beforeEach(() => {
  [servers, asked, tunnels] = [[], [], []];
});
afterEach(async () => {
  await client.close();
  for (const server of servers) server.close();
});

async function listening(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A proxy that answers itself, or redirects, and counts the tunnels it is asked for. */
async function proxy(location?: string): Promise<string> {
  const server = createServer((request, response) => {
    asked.push(request);
    if (location === undefined) response.end(`for ${request.url}`);
    else response.writeHead(307, { location }).end();
  });
  server.on('connect', (request, socket) => {
    tunnels.push(`${request.url} ${request.headers['proxy-authorization']}`);
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  });
  return `http://us%20er:word@127.0.0.1:${await listening(server)}`;
}

function get(url: string): Promise<string> {
  const signal = AbortSignal.timeout(10_000);
  return client
    .send({ method: 'GET', url: new URL(url), headers: {}, insecure: false, signal })
    .then(async (response) => (await readBody(response, 1000, signal)).toString());
}

const AUTHORIZATION = `Basic ${Buffer.from('us er:word').toString('base64')}`;

it('plain HTTP is asked of the proxy by the whole URL, TLS through a tunnel, both with its password', async () => {
  const url = await proxy();
  client = new HttpClient([], DEFAULT_TIMEOUTS, undefined, undefined, { http: url, https: url });
  expect(await get('http://registry.test:5000/v2/')).toBe('for http://registry.test:5000/v2/');
  expect(asked[0]?.headers).toMatchObject({ host: 'registry.test:5000', 'proxy-authorization': AUTHORIZATION });
  await expect(get('https://registry.test/v2/')).rejects.toThrow();
  expect(tunnels).toEqual([`registry.test:443 ${AUTHORIZATION}`]);
});

it('hosts that are excepted are reached without it', async () => {
  const here = await listening(createServer((_, response) => response.end('direct')));
  client = new HttpClient([], DEFAULT_TIMEOUTS, undefined, undefined, { http: await proxy() });
  expect(await get(`http://127.0.0.1:${here}/`)).toBe('direct');
  expect(asked).toEqual([]);
});

it('a registry behind the proxy does not lead to a private address, with or without the proxy', async () => {
  const inner = await listening(createServer((_, response) => response.end('secret')));
  for (const location of [`http://127.0.0.1:${inner}/`, `http://169.254.169.254/`]) {
    client = new HttpClient([], DEFAULT_TIMEOUTS, undefined, undefined, { http: await proxy(location) });
    await expect(get('http://registry.test/v2/')).rejects.toThrow('leads to the private address');
    await client.close();
  }
  expect(asked).toHaveLength(2);
});

it('a proxy that cannot be reached is named by the error', async () => {
  const server = createServer();
  const port = await listening(server);
  await new Promise((closed) => server.close(closed));
  client = new HttpClient([], DEFAULT_TIMEOUTS, undefined, undefined, { https: `http://127.0.0.1:${port}` });
  await expect(get('https://registry.test/v2/')).rejects.toThrow(/ECONNREFUSED|connection refused/);
});
