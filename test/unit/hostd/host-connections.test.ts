/** Clients that connect to hostd and then stall. */
import { createServer, type Server } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeCertificates } from '../../../src/cli/certificates.js';
import { isKnownClient, limitConnections } from '../../../src/hostd/server/host-connections.js';

const STRANGERS = 3;
let server: Server;
let port: number;
let sockets: Socket[];
let held: number;
const made = await makeCertificates('localhost', ['127.0.0.1'], 'Test');

beforeEach(() => listen());
afterEach(() => end());

async function listen(handshakeTimeout = 60_000): Promise<void> {
  sockets = [];
  held = 0;
  server = createServer({ cert: made.serverCert, key: made.serverKey, handshakeTimeout }, (request, response) => {
    const user = /^\/(known|held\/\w+)/.exec(request.url ?? '')?.[1];
    if (user !== undefined) isKnownClient(request, user);
    if (request.url === '/known' || request.url === '/early') response.end('early');
    request.resume().once('end', () => {
      if (request.url === '/') response.end('done');
      if (request.url?.startsWith('/held') === true) held++;
    });
  });
  limitConnections(server, { strangers: STRANGERS, known: 5, restMs: 100 });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  ({ port } = server.address() as AddressInfo);
}

async function end(): Promise<void> {
  for (const socket of sockets) socket.destroy();
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
}

const silent = (): Socket => {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
  socket.resume();
  sockets.push(socket);
  return socket;
};

/** Sends a request over a connection; resolves with what is answered. */
function ask(path: string, rest = '', socket?: TLSSocket): Promise<{ text: string; socket: TLSSocket }> {
  return new Promise((resolve, reject) => {
    const client = socket ?? tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    sockets.push(client);
    client.once('error', reject);
    client.once('close', () => reject(new Error('closed')));
    client.once('data', (data) => resolve({ text: data.toString(), socket: client }));
    client.write(`POST ${path} HTTP/1.1\r\nHost: h\r\n${rest === '' ? 'Content-Length: 0\r\n\r\n' : rest}`);
  });
}

it('a silent client is disconnected when its time to log in is over', async () => {
  await end();
  await listen(500);
  const socket = silent();
  await expect.poll(() => socket.closed).toBe(true);
});

it('silent clients keep nobody out', async () => {
  for (let i = 0; i < 5 * STRANGERS; i++) silent();
  expect((await ask('/')).text).toContain('done');
});

it('half requests of strangers keep nobody out, and strangers do not keep out users who have logged in', async () => {
  const known = await ask('/known');
  const halves: Promise<unknown>[] = [];
  for (let i = 0; i < 2 * STRANGERS; i++) halves.push(ask('/', 'Content-Length: 10\r\n\r\nhalf').catch(() => 'ended'));
  expect((await ask('/known')).text).toContain('early');
  expect((await ask('/known', '', known.socket)).text).toContain('early');
  expect(await Promise.race(halves)).toBe('ended');
});

it('strangers whose requests are being answered are not disconnected', async () => {
  for (let i = 0; i < STRANGERS; i++) ask('/held').catch(() => undefined);
  await expect.poll(() => held).toBe(STRANGERS);
  await expect
    .poll(async () =>
      ask('/').then(
        () => 'served',
        () => 'refused',
      ),
    )
    .toBe('refused');
  expect(sockets.slice(0, STRANGERS).map(({ closed }) => closed)).toEqual([false, false, false]);
});

it('the rest of a request that was answered is not waited for forever', async () => {
  const { socket, text } = await ask('/early', 'Content-Length: 10\r\n\r\nhalf');
  expect(text).toContain('early');
  await expect.poll(() => socket.closed).toBe(true);
});

it('a user whose requests never end keeps no other user out', async () => {
  const closed = (): number => sockets.filter((socket) => socket.closed).length;
  // One user may have two of the five.
  for (let i = 1; i <= 5; i++) {
    ask('/held/greedy').catch(() => undefined);
    await expect.poll(() => held).toBe(i);
    await expect.poll(closed).toBe(Math.max(0, i - 2));
  }
  expect((await ask('/known')).text).toContain('early');
});
