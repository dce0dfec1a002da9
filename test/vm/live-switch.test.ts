/**
 * A hostd that is killed at any step of a live switch of a disk, with a real QEMU that has the disk. It runs no guest: what matters is which
 * file its disk is.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createEmpty, VmdkChain } from '../../src/disk/index.js';
import { recordDisk } from '../../src/hostd/disks/disk-records.js';
import { copyDown, moveUp, settlePoints } from '../../src/hostd/disks/merge-disks.js';
import { type DiskWriter, makePoint, settleSwitch } from '../../src/hostd/disks/point-disks.js';
import { DescriptorSender } from '../../src/hostd/qemu/descriptor-sender.js';
import type { HotVm } from '../../src/hostd/qemu/hot-device.js';
import { HotDisk } from '../../src/hostd/qemu/hot-disk.js';
import { Qmp } from '../../src/hostd/qemu/qmp.js';
import { type Change, killedAtWrite } from '../support/killed-files.js';

const CAPACITY = 64 * 2 ** 20;
const OWNER = { extraConfig: new Map([['caisson.vch', 'x']]), vch: 'x' };
/** Not `blockdev-del`: it is tried for nodes that are in use too. */
const CHANGES = /^(blockdev-(add|snapshot|reopen)|remove-fd)/;
let store: string;
let disk: string;
let qemu: ChildProcess;
let qmp: Qmp;
let sender: DescriptorSender;
let pointNumber = 0;
const nextPoint = (): string =>
  join(store, `VIC/x/volumes/points/${(++pointNumber).toString(16).padStart(16, '0')}.vmdk`);

beforeAll(async () => {
  store = await mkdtemp(join(tmpdir(), 'caisson-switch-'));
  disk = join(store, 'VIC/x/volumes/v/v.vmdk');
  await mkdir(dirname(disk), { recursive: true });
  await createEmpty(disk, CAPACITY);
  await recordDisk(disk);
  const monitor = (name: string): string[] => ['-qmp', `unix:${join(store, name)},server=on,wait=off`];
  qemu = spawn(
    'qemu-system-x86_64',
    ['-machine', 'pc', '-accel', 'tcg', '-nodefaults', '-display', 'none', ...monitor('one'), ...monitor('two')],
    { stdio: 'inherit' },
  );
  qmp = await Qmp.connect(join(store, 'one'), () => qemu.exitCode === null, 60_000);
  sender = new DescriptorSender();
  const hot = hotDisk();
  await qmp.command('device_add', (await hot.open(OWNER)) ?? {});
});
afterAll(async () => {
  qemu?.kill('SIGKILL');
  sender?.close();
  await rm(store, { recursive: true, force: true });
});

/** The disk, as a hostd has it. @param change how it makes changes */
function hotDisk(change: Change = (make) => make()): HotDisk {
  const command: Qmp['command'] = (name, args) =>
    CHANGES.test(name) ? change(() => qmp.command(name, args)) : qmp.command(name, args);
  const send: DescriptorSender['send'] = (to, files) => change(() => sender.send(to, files));
  const host = { datastores: [{ name: 'datastore1', directory: store }], sender: { send } };
  const vm = { moid: 'vm-1', pid: qemu.pid!, qmp: { command }, monitor: join(store, 'two'), host };
  return new HotDisk({ bus: 0, unit: 1, path: disk, readOnly: false }, vm as unknown as HotVm);
}

const writer = (change?: Change): DiskWriter => ({
  pid: qemu.pid!,
  switchDisk: (to) => hotDisk(change).switchTo(to),
  release: () => hotDisk(change).release(),
});

/** Inode of the file that QEMU's disk writes to. */
async function written(): Promise<number> {
  const [device] = (await qmp.command('query-block')) as { inserted: { 'node-name': string } }[];
  const nodes = (await qmp.command('query-named-block-nodes', { flat: true })) as {
    'node-name': string;
    file: string;
  }[];
  const own = nodes.find((one) => one['node-name'] === `${device!.inserted['node-name']}-file`)!;
  const sets = (await qmp.command('query-fdsets')) as { 'fdset-id': number; fds: { fd: number }[] }[];
  const { fds } = sets.find((one) => one['fdset-id'] === Number(own.file.split('/').at(-1)))!;
  return (await stat(`/proc/${qemu.pid}/fd/${fds[0]!.fd}`)).ino;
}

/** What QEMU has open of the store, and the number of its nodes. */
async function held(): Promise<{ files: number; nodes: number }> {
  const fds = await readdir(`/proc/${qemu.pid}/fd`);
  const links = await Promise.all(fds.map((fd) => stat(`/proc/${qemu.pid}/fd/${fd}`).catch(() => null)));
  const nodes = (await qmp.command('query-named-block-nodes', { flat: true })) as unknown[];
  return { files: links.filter((one) => one?.isFile()).length, nodes: nodes.length };
}

it.each([false, true])('at every step of a snapshot (the last one made: %s)', async (made) => {
  for (let last = 1, over = false; !over; last++) {
    const point = nextPoint();
    const tried = await killedAtWrite(last, made, (change) => makePoint(disk, point, writer(change)));
    over = tried < last;
    // The next hostd.
    await settleSwitch(disk, [writer()]);
    expect(await written(), `step ${last}`).toBe((await stat(disk)).ino);
    const chain = await VmdkChain.open(disk);
    const there = existsSync(point);
    expect(chain.info.parentHint?.endsWith(point.split('/').at(-1)!) ?? false, `step ${last}`).toBe(there);
    await chain.close();
    if (over) expect(there).toBe(true);
    await settlePoints(dirname(point));
    expect((await readdir(dirname(disk))).sort()).toEqual(['v.vmdk', 'v.vmdk.caisson-disk']);
    // The next snapshot works.
    await makePoint(disk, nextPoint(), writer());
    expect(await written()).toBe((await stat(disk)).ino);
    await merge();
  }
});

it('and lets go of disks that have become one, however many they were', async () => {
  for (let n = 0; n < 12; n++) await makePoint(disk, nextPoint(), writer());
  expect((await chainOf()).length).toBe(13);
  await merge();
  expect(await written()).toBe((await stat(disk)).ino);
  // Disk and point are a node and a file each.
  const { files, nodes } = await held();
  expect(nodes).toBe(4);
  expect(files).toBeLessThan(10);
});

/** Makes one point of all that the disk stands on. */
async function merge(): Promise<void> {
  const [first = '', ...below] = await chainOf();
  for (const lower of below) {
    await copyDown(first, lower);
    await moveUp(lower, first);
    await hotDisk().relink(OWNER);
  }
  expect(await chainOf()).toEqual([first]);
}

/** Paths of the points that the disk stands on. */
async function chainOf(): Promise<string[]> {
  const found: string[] = [];
  for (let path = disk; ; ) {
    const text = await readFile(`${path}.caisson-disk`, 'utf8');
    const { parentHint } = JSON.parse(text) as { parentHint: string | null };
    if (parentHint === null) return found;
    path = join(dirname(path), parentHint);
    found.push(path);
  }
}
