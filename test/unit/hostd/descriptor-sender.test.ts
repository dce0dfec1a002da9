/** Passing descriptors to QEMUs, some of which do not answer: the others neither wait for them nor fail. */
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

/** Answers like QEMU's monitor. @param heard the commands that it received */
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

it('monitors that do not answer hold up nobody else', async () => {
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
  // They no longer hold anything up.
  expect(await sender.connect(good, 'serial0', channel)).toBe(true);
}, 30_000);

it('a listener that never accepts still gets its connection; a missing one gets none', async () => {
  const good = await listen('good', answers());
  const path = await listen('channel', () => undefined);
  expect(await sender.connect(good, 'serial0', path)).toBe(true);
  expect(await sender.connect(good, 'serial0', join(directory, 'none'))).toBe(false);
  await writeFile(join(directory, 'file'), '');
  await expect(sender.connect(good, 'serial0', join(directory, 'file'))).rejects.toThrow('no socket');
});

it('a monitor gets one request at a time, and each request its own answer', async () => {
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

it('a monitor that talks endlessly is cut off', async () => {
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
