/** A volume whose disk one VM has, used by others too: over a hidden network, and over the end of the VM that serves it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ContainerChannel } from '../../port-layer/interaction/container-channel.js';
import { createFilesystem } from '../../src/disk/index.js';
import type { RunningVm } from '../../src/hostd/runtime.js';
import { encodeProcess } from '../../tether/program/compile.js';
import type { VolumeSpec } from '../../tether/program/spec.js';
import { buildTool, openChannel, putTool, sh } from '../support/guest-shell.js';
import { processSpec } from '../support/specs.js';
import { type LabGuest, until, VmLab } from '../support/vm-lab.js';

const HIDDEN = 'lab volume';
const SERVER = '169.254.77.1';
const SERVER_CARD = { mac: '00:50:56:00:77:01', address: `${SERVER}/24` };
const clientCard = (number: number) => ({
  mac: `00:50:56:00:77:${String(number).padStart(2, '0')}`,
  address: `169.254.77.${number}/24`,
});
const DISK = { bus: 0, unit: 1 };

interface Machine {
  guest: LabGuest;
  vm: RunningVm;
  channel: ContainerChannel;
}

let directory: string;
let lab: VmLab;
let tool: string;
let volumeDisk: string;
let owner: Machine;
let next: Machine;
const clients: Machine[] = [];

/** A VM with the volume at /v, in a container that has the same name in all of them. */
async function start(volume: VolumeSpec['from'], change: (guest: LabGuest) => void): Promise<Machine> {
  const guest = await lab.define({
    script: 'echo up; exec sleep 100000',
    program: { hostname: 'same', volumes: [{ from: volume, path: '/v', readOnly: false, subpath: '' }] },
  });
  change(guest);
  const channel = await openChannel(guest);
  const vm = await lab.powerOn(guest);
  await until(
    async () => /up/.test(await guest.output()) || guest.exits.length > 0,
    'the container runs',
    () => guest.status,
  );
  expect(guest.exits, guest.status).toEqual([]);
  return { guest, vm, channel };
}

const startOwner = (): Promise<Machine> =>
  start({ disk: DISK, diskReadOnly: false }, ({ definition }) => {
    definition.disks.push({ ...DISK, path: volumeDisk, readOnly: false });
  });

const startClient = (number: number): Promise<Machine> =>
  start(
    { served: { number: 0, volume: 'vol', card: { index: 0, ...clientCard(number) }, server: SERVER } },
    ({ definition }) => {
      definition.nics.push({ index: 0, mac: clientCard(number).mac, portGroup: HIDDEN, connected: true });
    },
  );

async function serve({ guest, vm, channel }: Machine, former: number[]): Promise<void> {
  const served = channel.serveVolume({ disk: DISK, card: SERVER_CARD, clients: former.map((n) => clientCard(n).mac) });
  const nic = { index: 1, mac: SERVER_CARD.mac, portGroup: HIDDEN, connected: true };
  await vm.plug({ kind: 'nic', nic }, guest.definition);
  await served;
}

/** Starts a command that goes on. @returns what it has printed so far */
async function goesOn({ channel }: Machine, ...args: string[]): Promise<() => string> {
  const { output, started } = await channel.exec(encodeProcess(processSpec(args)));
  await started;
  let printed = '';
  output.on('data', ({ data }: { data: Buffer }) => {
    printed += data.toString();
  });
  return () => printed;
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-shared-volume-'));
  tool = await buildTool(directory, 'guest-volume-tool.c');
  lab = await VmLab.open();
  await lab.runtime.virtualSwitch.addPortGroup(HIDDEN);
  volumeDisk = join(lab.paths.datastoreDir, 'volume.vmdk');
  await createFilesystem({ outPath: volumeDisk, capacity: 2 ** 30, seed: 'volume', label: 'volume' });
  owner = await startOwner();
  await putTool(owner.channel, tool);
  await sh(owner.channel, 'echo of the owner > /v/first');
  await serve(owner, []);
  for (const number of [2, 3]) clients.push(await startClient(number));
  for (const { channel } of clients) await putTool(channel, tool);
});
afterAll(async () => {
  await Promise.all([owner, next, ...clients].map((one) => one?.channel.close(true)));
  await lab?.close();
  await rm(directory, { recursive: true, force: true });
});

it('is one filesystem for all of them', async () => {
  const [b, c] = clients.map(({ channel }) => channel);
  expect(await sh(b!, 'cat /v/first; busybox df -k /v | tail -n 1')).toMatch(/^of the owner\n169\.254\.77\.1:\/ /);
  await sh(b!, 'cd /v; mkdir d; echo of b > d/b; busybox chown 1234:5678 d/b; busybox chmod 4751 d/b');
  await sh(c!, 'cd /v; busybox ln d/b hard; busybox ln -s d/b soft; busybox mkfifo fifo; echo more >> d/b');
  const look = 'cd /v; busybox stat -c "%a %u:%g %h %F" d/b hard fifo; busybox readlink soft; cat hard';
  const wanted = '4751 1234:5678 2 regular file\n4751 1234:5678 2 regular file\n644 0:0 1 fifo\nd/b\nof b\nmore\n';
  for (const one of [owner.channel, b!, c!]) expect(await sh(one, look)).toBe(wanted);
  // What one takes away, the others do not find, without waiting for anything.
  await sh(owner.channel, 'rm /v/hard');
  expect(await sh(b!, 'ls /v; cat /v/hard')).toBe(
    "d\nfifo\nfirst\nsoft\ncat: can't open '/v/hard': No such file or directory\n",
  );
});

it('is served by what the container neither sees nor reaches', async () => {
  const look =
    'ls /sys/class/net; cat /proc/net/route /proc/fs/nfs/exports /proc/net/rpc/nfsd.export/content /proc/net/rpc/auth.unix.ip/content; busybox ps';
  for (const { channel } of [owner, ...clients]) {
    const seen = await sh(channel, look);
    expect(seen).toMatch(/^lo\nIface/);
    expect(seen).not.toMatch(/volumes|169\.254|nfs\]|nfs-server/);
  }
  for (const { channel } of [owner, clients[0]!])
    expect(await sh(channel, 'ping -c 1 -w 1 169.254.77.1; ping -c 1 -w 1 169.254.77.3')).not.toContain('from');
});

it('has locks that hold between them', async () => {
  const held = await goesOn(clients[0]!, '/bin/tool', 'lock', '/v/lock');
  await until(() => held() === 'locked\n', 'the lock is taken', held);
  expect(await sh(clients[1]!.channel, '/bin/tool lock /v/lock')).toBe('busy\n');
  expect(await sh(owner.channel, '/bin/tool lock /v/lock')).toBe('busy\n');
});

it('goes on with another server, which has all that was on the disk; what was locked stays locked', async () => {
  const written = await goesOn(clients[1]!, '/bin/tool', 'write', '/v/log');
  const lines = (): number => written().split('\n').length - 1;
  await until(() => lines() > 5, 'something was written', written);
  process.kill(owner.vm.pid, 'SIGKILL');
  await owner.guest.exit();
  const before = lines();
  next = await startOwner();
  await putTool(next.channel, tool);
  const kept = (await sh(next.channel, 'cat /v/log')).split('\n').length - 1;
  expect(kept).toBeGreaterThanOrEqual(before);
  await serve(next, [2, 3]);
  await until(() => lines() > before + 5, 'the writer goes on', written);
  expect(written()).not.toMatch(/[a-z]/);
  // It waits until the one that has the lock has said so to the new server.
  expect(await sh(clients[1]!.channel, '/bin/tool lock /v/lock')).toBe('busy\n');
  // Asked again, as after a restart of the endpoint, it has nothing to do.
  await next.channel.serveVolume({ disk: DISK, card: SERVER_CARD, clients: [] });
});

it('gives up what a client had whose machine is gone', async () => {
  process.kill(clients[0]!.vm.pid, 'SIGKILL');
  await clients[0]!.guest.exit();
  await next.channel.forgetVolumeClient(DISK, '169.254.77.2');
  const held = await goesOn(clients[1]!, '/bin/tool', 'lock', '/v/lock');
  await until(() => held() === 'locked\n', 'the lock is taken', held);
});

it('is unmounted cleanly by a client, and by a server that stops serving', async () => {
  await clients[1]!.vm.shutdownGuest();
  expect(await clients[1]!.guest.exit()).toEqual({ reason: 'guestPowerOff' });
  await next.channel.unserveVolume(DISK);
  await next.channel.unserveVolume(DISK);
  expect(await sh(next.channel, 'ls /sys/class/net')).toBe('lo\n');
  await next.vm.unplug({ kind: 'nic', nic: { index: 1, mac: SERVER_CARD.mac, portGroup: HIDDEN, connected: true } });
  await expect(next.channel.serveVolume({ disk: { bus: 0, unit: 2 }, card: SERVER_CARD, clients: [] })).rejects.toThrow(
    'not mounted',
  );
  await next.vm.shutdownGuest();
  expect(await next.guest.exit()).toEqual({ reason: 'guestPowerOff' });
});
