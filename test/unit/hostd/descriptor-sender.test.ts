/** Handing descriptors to QEMUs, of which some do not answer: those of others do not wait for that, nor fail. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DescriptorSender } from '../../../src/hostd/qemu/descriptor-sender.js';

let directory: string;
let sender: DescriptorSender;
const servers: Server[] = [];
const sockets: Socket[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-sender-'));
  sender = new DescriptorSender();
});
afterEach(async () => {
  sender.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  await rm(directory, { recursive: true });
});

async function listen(name: string, serve: (socket: Socket) => void): Promise<string> {
  const path = join(directory, name);
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  servers.push(server);
  server.listen(path);
  await once(server, 'listening');
  return path;
}

/** Answers like QEMU's monitor. @param heard the commands it has received */
const answers =
  (heard: string[] = []) =>
  (socket: Socket): void => {
    socket.write('{"QMP": {}}\r\n');
    socket.on('data', (bytes) => {
      for (const line of String(bytes).split('\n').filter(Boolean)) {
        heard.push((JSON.parse(line) as { execute: string }).execute);
        socket.write(`{"timestamp": {}, "event": "X"}\r\n{"return": {}}\r\n`);
      }
    });
  };

it('one monitor that does not answer holds up nobody else', async () => {
  const silent = await Promise.all(
    Array.from({ length: 5 }, (_, i) => listen(`silent${i}`, (socket) => void socket.pause())),
  );
  const good = await listen('good', answers());
  const channel = await listen('channel', () => undefined);
  let failed = 0;
  const stuck = silent.map((path) =>
    sender.connect(path, 'serial0', channel).catch((error: unknown) => {
      failed++;
      expect(error).toMatchObject({ kind: 'timeout' });
    }),
  );
  for (let i = 0; i < 10; i++) expect(await sender.connect(good, 'serial0', channel)).toBe(true);
  expect(failed).toBe(0);
  await Promise.all(stuck);
  // What they have cost is over.
  expect(await sender.connect(good, 'serial0', channel)).toBe(true);
}, 30_000);

it('a channel whose listener takes no connection is as good as none', async () => {
  const good = await listen('good', answers());
  const path = await listen('channel', () => undefined);
  expect(await sender.connect(good, 'serial0', path)).toBe(true);
  expect(await sender.connect(good, 'serial0', join(directory, 'none'))).toBe(false);
  await writeFile(join(directory, 'file'), '');
  await expect(sender.connect(good, 'serial0', join(directory, 'file'))).rejects.toThrow('no socket');
});

it('one monitor has one request at a time, and each its own answer', async () => {
  let open = 0;
  let most = 0;
  const heard: string[] = [];
  const good = await listen('good', (socket) => {
    most = Math.max(most, ++open);
    socket.on('close', () => open--);
    answers(heard)(socket);
  });
  await writeFile(join(directory, 'file'), '');
  const file = { set: 3, path: join(directory, 'file'), access: 'read' as const };
  const missing = { ...file, path: join(directory, 'missing') };
  const all = await Promise.allSettled(
    Array.from({ length: 8 }, (_, i) => sender.send(good, [i % 2 === 0 ? file : missing])),
  );
  expect(all.map(({ status }) => status)).toEqual(all.map((_, i) => (i % 2 === 0 ? 'fulfilled' : 'rejected')));
  expect(heard.filter((command) => command === 'add-fd')).toHaveLength(4);
  expect(most).toBeLessThanOrEqual(2);
});

it('one that talks without end is cut off', async () => {
  const chatty = await listen('chatty', (socket) => {
    const text = Buffer.alloc(65_536, 'x');
    const write = (): void => {
      while (!socket.destroyed && socket.write(text));
    };
    socket.on('drain', write);
    write();
  });
  const channel = await listen('channel', () => undefined);
  await expect(sender.connect(chatty, 'serial0', channel)).rejects.toThrow('QEMU says too much');
});
