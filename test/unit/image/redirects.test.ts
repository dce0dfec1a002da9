/** Where a registry may redirect this machine: never from a public address to a private one. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type AddressClass, classOf } from '../../../appliance/image/address-class.js';
import { DEFAULT_TIMEOUTS, HttpClient, type HttpRequest, readBody } from '../../../appliance/image/http.js';
import { RegistryEndpoints } from '../../../appliance/image/registry-endpoints.js';

describe('the class of an address', () => {
  test.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '224.0.0.1',
    '::1',
    '::',
    'fe80::1%eth0',
    'fd00::1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::127.0.0.1',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::a00:1',
    '64:ff9b:1:7f00:0:100::',
    '::ffff:0:10.0.0.1',
    '2001:0:53aa:64c::80ff:fffe',
    '2002:7f00:1::',
    'nonsense',
    '',
  ])('%s is private', (address) => {
    expect(classOf(address)).toBe('private');
  });
  test("this machine's own addresses count as private, however public they look", () => {
    const own: NetworkInterfaceInfo = {
      ...{ address: '8.8.4.4', netmask: '', mac: '', internal: false, cidr: null },
      family: 'IPv4',
    };
    const classes = ['8.8.4.4', '::ffff:8.8.4.4', '8.8.4.5'].map((address) =>
      classOf(address, () => ({ eth0: [own] })),
    );
    expect(classes).toEqual(['private', 'private', 'public']);
  });
  test.each(['8.8.8.8', '172.32.0.1', '100.128.0.1', '2001:4860:4860::8888', '::ffff:8.8.8.8', '64:ff9b::808:808'])(
    '%s is public',
    (address) => {
      expect(classOf(address)).toBe('public');
    },
  );
});

/** "Public" here is 127.0.0.3. */
const classify = (address: string): AddressClass => (address === '127.0.0.3' ? 'public' : 'private');
const PUBLIC = '127.0.0.3';
const PRIVATE = '127.0.0.1';

let servers: Server[];
let clients: HttpClient[];
let asked: IncomingMessage[];
beforeEach(() => {
  [servers, clients, asked] = [[], [], []];
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  for (const server of servers) server.close();
});

/** A server that answers with its address, or a redirect. Returns its port. */
async function serve(host: string, location?: (port: number) => string): Promise<number> {
  const server = createServer((request, response) => {
    asked.push(request);
    if (location === undefined) response.end(host);
    else response.writeHead(307, { location: location(port) }).end();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  return port;
}

async function get(url: string, options: Partial<HttpRequest> & { configured?: string[] } = {}): Promise<string> {
  const { configured = [], ...rest } = options;
  const endpoints = new RegistryEndpoints({ mirrors: [], insecure: configured });
  const client = new HttpClient([], DEFAULT_TIMEOUTS, (host) => endpoints.isConfigured(host), classify);
  clients.push(client);
  const signal = AbortSignal.timeout(10_000);
  const request = { method: 'GET' as const, headers: {}, insecure: false, signal, ...rest };
  // A token server is named in an answer of its registry.
  if (rest.from !== undefined) await (await client.send({ ...request, url: rest.from })).body.dump();
  return (await readBody(await client.send({ ...request, url: new URL(url) }), 1000, signal)).toString();
}

const refused = /a public registry leads to the private address 127\.0\.0\.1/;

test.each([
  ['an address', (port: number) => `http://${PRIVATE}:${port}/`],
  ['a name', (port: number) => `http://localhost:${port}/`],
  ['an address in IPv6', (port: number) => `http://[::ffff:${PRIVATE}]:${port}/`],
])('from a public address to a private one by %s is refused before anything is sent', async (what, location) => {
  const inner = await serve(PRIVATE);
  const outer = await serve(PUBLIC, () => location(inner));
  const failure = get(`http://${PUBLIC}:${outer}/`);
  if (what === 'an address in IPv6') await expect(failure).rejects.toThrow(/private address ::ffff:7f00:1/);
  else await expect(failure).rejects.toThrow(refused);
  expect(asked).toHaveLength(1);
});

test('by way of another public address is refused too', async () => {
  const inner = await serve(PRIVATE);
  const second = await serve(PUBLIC, () => `http://${PRIVATE}:${inner}/`);
  const first = await serve(PUBLIC, () => `http://${PUBLIC}:${second}/`);
  await expect(get(`http://${PUBLIC}:${first}/`)).rejects.toThrow(refused);
  expect(asked).toHaveLength(2);
});

test('the token server of a public registry may not be private', async () => {
  const inner = await serve(PRIVATE);
  const registry = new URL(`http://${PUBLIC}:${await serve(PUBLIC)}/`);
  await expect(get(`http://${PRIVATE}:${inner}/token`, { from: registry })).rejects.toThrow(refused);
  await expect(get(`http://${PRIVATE}:${inner}/token`, { from: registry, method: 'POST', body: 'x' })).rejects.toThrow(
    refused,
  );
});

test('from a private address to any, and to a configured one, is followed', async () => {
  const inner = await serve(PRIVATE);
  const outer = await serve(PUBLIC, () => `http://${PRIVATE}:${inner}/`);
  const second = await serve(PRIVATE, () => `http://${PRIVATE}:${inner}/`);
  expect(await get(`http://${PRIVATE}:${second}/`)).toBe(PRIVATE);
  expect(await get(`http://${PUBLIC}:${outer}/`, { configured: [`${PRIVATE}:${inner}`] })).toBe(PRIVATE);
  expect(await get(`http://${PUBLIC}:${outer}/`, { configured: ['127.0.0.0/8'] })).toBe(PRIVATE);
  const named = await serve(PUBLIC, () => `http://localhost:${inner}/`);
  await expect(get(`http://${PUBLIC}:${named}/`, { configured: ['10.0.0.0/8'] })).rejects.toThrow(refused);
  expect(await get(`http://${PUBLIC}:${named}/`, { configured: [`${PRIVATE}/32`] })).toBe(PRIVATE);
});

test('credentials are not sent to another host', async () => {
  const other = await serve(PUBLIC);
  const first = await serve(PUBLIC, () => `http://${PUBLIC}:${other}/`);
  await get(`http://${PUBLIC}:${first}/`, { headers: { authorization: 'Basic secret' } });
  expect(asked.map(({ headers }) => headers.authorization)).toEqual(['Basic secret', undefined]);
});
