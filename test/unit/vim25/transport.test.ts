/** The client's side of HTTPS against a server that misbehaves. */
import { X509Certificate } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server } from 'node:https';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { makeCertificates } from '../../../src/cli/certificates.js';
import { withOperation } from '../../../src/common/log.js';
import { readText, Transport } from '../../../src/vim25/transport.js';

/** The last request. */
let outgoing: ClientRequest;
const MADE = 'http.client.request.start';
const made = (message: unknown): void => {
  outgoing = (message as { request: ClientRequest }).request;
};
beforeAll(() => subscribe(MADE, made));
afterAll(() => void unsubscribe(MADE, made));

let server: Server;
let certificate: X509Certificate;
let transport: Transport;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const sockets = new Set<Socket>();

beforeAll(async () => {
  const { serverCert, serverKey } = await makeCertificates('localhost', ['127.0.0.1'], 'test');
  certificate = new X509Certificate(serverCert);
  server = createTlsServer({ key: serverKey, cert: serverCert }, (request, response) => answer(request, response));
  server.on('secureConnection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  transport = new Transport(url(), certificate.fingerprint);
});
afterEach(() => transport.close());

const url = (): string => `https://127.0.0.1:${(server.address() as AddressInfo).port}/sdk`;
const text = async (path = '/'): Promise<string> => readText(await transport.exchange({ method: 'GET', path }));

it('trusts the certificate by its SHA-1 or SHA-256 thumbprint, and no other', async () => {
  answer = (_, response) => response.end('hello');
  expect(await text()).toBe('hello');
  for (const thumbprint of [certificate.fingerprint256, certificate.fingerprint.toLowerCase()]) {
    const other = new Transport(url(), thumbprint);
    expect(await readText(await other.exchange({ method: 'GET', path: '/' }))).toBe('hello');
    other.close();
  }
  for (const thumbprint of ['', 'x', certificate.fingerprint.replace(/.$/, (c) => (c === '0' ? '1' : '0'))]) {
    const other = new Transport(url(), thumbprint);
    await expect(other.exchange({ method: 'GET', path: '/' })).rejects.toMatchObject({ kind: 'unavailable' });
    other.close();
  }
});

it('takes only https URLs', () => {
  for (const bad of ['http://x/', 'x', '', 'file:///etc']) expect(() => new Transport(bad, undefined)).toThrow(/https/);
});

it('keeps connections and the session, and passes on the operation id', async () => {
  const seen: (string | undefined)[] = [];
  let connections = 0;
  server.on('secureConnection', () => {
    connections += 1;
  });
  answer = (request, response) => {
    seen.push(request.headers.cookie, request.headers['vim25-operationid'] as string | undefined);
    response.setHeader('set-cookie', ['other=1', 'vmware_soap_session="abc"; Path=/; HttpOnly; Secure;']).end('x');
  };
  await text();
  await withOperation('op1', () => text());
  expect(seen).toEqual([undefined, undefined, 'vmware_soap_session="abc"', 'op1']);
  expect(connections).toBe(1);
  transport.dropSession();
  await text();
  expect(seen.at(-2)).toBeUndefined();
});

it('replaces a kept connection that the server has closed', async () => {
  let requests = 0;
  answer = (request, response) => {
    requests += 1;
    if (requests === 2) request.socket.destroy();
    else response.end(`answer ${requests}`);
  };
  expect(await text()).toBe('answer 1');
  expect(await text()).toBe('answer 3');
  answer = (request) => request.socket.destroy();
  await expect(text()).rejects.toMatchObject({ kind: 'unavailable' });
});

it('fails when an answer is cut off or does not come', async () => {
  answer = (_, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('half');
    setTimeout(() => response.destroy(), 20);
  };
  await expect(text()).rejects.toMatchObject({ kind: 'unavailable' });
  answer = () => undefined;
  await expect(transport.exchange({ method: 'GET', path: '/', idleTimeoutMs: 100 })).rejects.toThrow(/does not answer/);
});

it('can be aborted at once: before, while connecting, while waiting, while reading', async () => {
  answer = (request, response) => {
    if (request.url === '/slow') response.write('begin');
  };
  const aborted = { kind: 'cancelled' };
  await expect(transport.exchange({ method: 'GET', path: '/', signal: AbortSignal.abort() })).rejects.toMatchObject(
    aborted,
  );
  await expect(transport.exchange({ method: 'GET', path: '/', signal: AbortSignal.timeout(50) })).rejects.toMatchObject(
    aborted,
  );

  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const other = new Transport(`https://127.0.0.1:${(silent.address() as AddressInfo).port}`, certificate.fingerprint);
  await expect(other.exchange({ method: 'GET', path: '/', signal: AbortSignal.timeout(50) })).rejects.toMatchObject(
    aborted,
  );
  other.close();
  silent.close();

  const controller = new AbortController();
  const head = await transport.exchange({ method: 'GET', path: '/slow', signal: controller.signal });
  const reading = readText(head);
  setTimeout(() => controller.abort(), 20);
  await expect(reading).rejects.toMatchObject(aborted);
});

it('notices a refusal in the middle of an upload, and stops sending', async () => {
  answer = (_, response) => {
    response.writeHead(507, { connection: 'close' });
    response.end('full');
  };
  let sent = 0;
  const body = new Readable({
    read() {
      sent += 65_536;
      setImmediate(() => this.push(Buffer.alloc(65_536)));
    },
  });
  const head = await transport.exchange({ method: 'PUT', path: '/file', body });
  expect(head.statusCode).toBe(507);
  expect(await readText(head)).toBe('full');
  expect(body.destroyed).toBe(true);
  const then = sent;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(sent).toBe(then);
});

it('does not mistake a slow reader or a slow source for a silent server', async () => {
  answer = (request, response) => {
    if (request.method === 'GET') response.end(Buffer.alloc(3_000_000));
    else request.resume().on('end', () => response.end('thanks'));
  };
  const head = await transport.exchange({ method: 'GET', path: '/' });
  await expect.poll(() => head.readableLength).toBeGreaterThan(0);
  outgoing.emit('timeout');
  expect(await readText(head)).toHaveLength(3_000_000);
  const slow = new Readable({ read: () => undefined });
  const put = transport.exchange({ method: 'PUT', path: '/', body: slow });
  slow.push('x');
  await expect.poll(() => outgoing.socket !== null && outgoing.writableLength === 0 && slow.readableLength).toBe(0);
  outgoing.emit('timeout');
  slow.push('x');
  slow.push(null);
  expect(await readText(await put)).toBe('thanks');
  const silent = transport.exchange({ method: 'GET', path: '/' });
  answer = () => outgoing.emit('timeout');
  await expect(silent).rejects.toThrow(/does not answer/);
});
