/** Serial ports connected to sockets: those of VMs that an earlier version's hostd started. */
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ChannelWatch } from '../../../src/hostd/qemu/channel-watch.js';
import { DescriptorSender } from '../../../src/hostd/qemu/descriptor-sender.js';
import type { Qmp } from '../../../src/hostd/qemu/qmp.js';
import { SocketPorts } from '../../../src/hostd/qemu/serial-ports.js';

const ENDPOINT = 63_150;
const OLDER_GROUP = 64_100;

let runDir: string;
let directory: string;
let watch: ChannelWatch;
let sender: DescriptorSender;
let asked: { command: string; args: unknown }[];
const servers: Server[] = [];

const qmp = {
  command: async (command: string, args: unknown) => {
    asked.push({ command, args });
    return command === 'query-command-line-options'
      ? [{ option: 'chardev', parameters: [{ name: 'reconnect', type: 'number' }] }]
      : {};
  },
} as unknown as Qmp;

beforeEach(async () => {
  runDir = await mkdtemp(join(tmpdir(), 'caisson-ports-'));
  directory = join(runDir, 'vch', 'default');
  await mkdir(directory, { recursive: true });
  await chown(directory, ENDPOINT, ENDPOINT);
  watch = new ChannelWatch();
  sender = new DescriptorSender();
  asked = [];
});
afterEach(async () => {
  watch.close();
  sender.close();
  for (const server of servers.splice(0)) server.close();
  await rm(runDir, { recursive: true });
});

async function listen(path: string, owner: number): Promise<string> {
  const server = createServer();
  servers.push(server);
  server.listen(path);
  await once(server, 'listening');
  await chown(path, owner, owner);
  await chmod(path, 0o600);
  return path;
}

function older(path: string): SocketPorts {
  const serials = [{ index: 0, backing: { kind: 'unixClient' as const, path } }];
  return new SocketPorts(qmp, join(runDir, 'none'), serials, { sender, watch, runDir }, true);
}

const access = async (path: string): Promise<string> => {
  const { uid, gid, mode } = await stat(path);
  return `${uid}:${gid} ${(mode & 0o777).toString(8)}`;
};

it('reach their channels as before, also those of another endpoint', async () => {
  const path = join(directory, 'c.sock');
  const ports = older(path);
  // Nobody listens yet.
  await ports.look();
  await listen(path, ENDPOINT);
  await expect.poll(() => access(path), { timeout: 5000 }).toBe(`${ENDPOINT}:${OLDER_GROUP} 660`);
  ports.close();
  // QEMU connects by itself: no command is sent.
  expect(asked).toEqual([]);
});

it('reach nothing else', async () => {
  const secret = join(runDir, 'secret');
  await writeFile(secret, '', { mode: 0o600 });
  const foreign = await listen(join(runDir, 'foreign.sock'), 0);
  const link = join(directory, 'link.sock');
  await symlink(foreign, link);
  const file = join(directory, 'file.sock');
  await symlink(secret, file);
  const others = await listen(join(directory, 'others.sock'), 0);
  for (const path of [link, file, others]) {
    const ports = older(path);
    await ports.look();
    ports.close();
  }
  expect(await Promise.all([secret, foreign, others].map(access))).toEqual(['0:0 600', '0:0 600', '0:0 600']);
});

it('also connect by themselves after a pause', async () => {
  const path = await listen(join(directory, 'c.sock'), ENDPOINT);
  const ports = older(path);
  await ports.renew([{ index: 0, backing: { kind: 'unixClient', path } }]);
  ports.close();
  expect(asked.at(-1)).toMatchObject({
    command: 'chardev-change',
    args: { id: 'serial0', backend: { type: 'socket', data: { addr: { data: { path } }, reconnect: 1 } } },
  });
});

it('a look that fails is taken again soon, and no more after it has worked', async () => {
  const fails = 2;
  let looks = 0;
  const answers = (command: string): unknown => {
    if (command === 'query-status') return { status: 'running' };
    if (command === 'query-chardev' && ++looks <= fails) throw new Error('QEMU does not answer');
    return [];
  };
  const connected: string[] = [];
  const busy = { command: async (command: string) => answers(command) } as unknown as Qmp;
  const host = {
    sender: { connect: async (_: string, id: string) => connected.push(id) > 0 } as unknown as DescriptorSender,
    watch,
    runDir,
  };
  vi.useFakeTimers();
  try {
    const path = join(directory, 'one.sock');
    const ports = new SocketPorts(busy, 'none', [{ index: 3, backing: { kind: 'unixClient', path } }], host);
    await ports.look();
    expect([looks, connected]).toEqual([1, []]);
    await vi.advanceTimersByTimeAsync(1000);
    expect([looks, connected]).toEqual([2, []]);
    await vi.advanceTimersByTimeAsync(2000);
    expect([looks, connected]).toEqual([3, ['serial3']]);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(looks).toBe(3);
    ports.close();
  } finally {
    vi.useRealTimers();
  }
});
