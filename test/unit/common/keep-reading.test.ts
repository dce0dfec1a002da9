import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { keepReading } from '../../../src/common/keep-reading.js';

const LAST = Buffer.alloc(90_000, 'last words ');
let directory: string;
let server: Server;
let socket: Socket;
let problem: Error | null;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-socket-'));
  problem = null;
  server = createServer((peer) => {
    peer.on('error', () => undefined);
    peer.end(LAST, () => peer.destroy());
  });
  server.listen(join(directory, 's'));
  await once(server, 'listening');
  socket = connect({ path: join(directory, 's'), allowHalfOpen: true });
  socket.on('error', (error) => {
    problem = error;
  });
  socket.pause();
});

afterEach(() => {
  socket.destroy();
  server.close();
  rmSync(directory, { recursive: true });
});

/** The peer has sent its last bytes and is gone; then we write, and only then read. */
async function readLate(): Promise<number> {
  await once(socket, 'connect');
  while ((await new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)))) > 0)
    await sleep(5);
  socket.write('one');
  await sleep(20);
  socket.write('two');
  await sleep(20);
  let read = 0;
  socket.on('data', (data: Buffer) => {
    read += data.length;
  });
  socket.resume();
  if (!socket.closed) await once(socket, 'close').catch(() => undefined);
  return read;
}

it('what a peer sent before it closed is read, even after a write to it has failed', async () => {
  keepReading(socket);
  expect(await readLate()).toBe(LAST.length);
  expect(problem).toMatchObject({ code: 'EPIPE' });
});

it('Node loses some of it by default', async () => {
  expect(await readLate()).toBeLessThan(LAST.length);
});
