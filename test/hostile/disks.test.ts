/**
 * What a compromised QEMU leaves in its disk for the next start, for each way to start a VM: booted, resumed from a
 * snapshot, taken from the warm pool. None of it is opened, and no QEMU is given a path.
 */
import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEmpty } from '../../src/disk/index.js';
import type { RunningVm } from '../../src/hostd/runtime.js';
import { prepareBootImage } from '../../src/setup/boot-image.js';
import { prepareLauncher } from '../../src/setup/host-programs.js';
import { type LabGuest, until, VmLab } from '../support/vm-lab.js';

const WAYS = ['booted', 'resumed', 'spare'] as const;
const SECRET = 'TOP-SECRET-OF-THE-HOST';
let cache: string;
let secret: string;
let labs: Record<(typeof WAYS)[number], VmLab>;

beforeAll(async () => {
  await prepareBootImage({ strict: true });
  await prepareLauncher({ strict: true });
  cache = await mkdtemp(join(tmpdir(), 'caisson-hostile-'));
  secret = join(cache, 'secret');
  await writeFile(secret, SECRET.padEnd(4096, '.'), { mode: 0o600 });
  // The first VM that is booted makes the snapshot.
  const snapshots = join(cache, 'snapshots');
  const spare = await VmLab.open(snapshots, 1);
  await (await started(spare, 'true')).guest.exit();
  await until(() => spares(spare).length === 1, 'a spare VM waits');
  labs = { spare, resumed: await VmLab.open(snapshots), booted: await VmLab.open(join(cache, 'none')) };
});

afterAll(async () => {
  for (const lab of Object.values(labs ?? {})) await lab.close();
  await rm(cache, { recursive: true, force: true });
});

async function started(lab: VmLab, script: string): Promise<{ guest: LabGuest; vm: RunningVm }> {
  const guest = await lab.define({ script, address: '10.9.0.2/24' });
  return { guest, vm: await lab.powerOn(guest) };
}

function spares(lab: VmLab): number[] {
  return qemus().filter((pid) => argumentsOf(pid).includes(`${lab.paths.runDir}/pool/`));
}

function qemus(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => argumentsOf(pid).startsWith('qemu-system'));
}

function argumentsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

/** The descriptors of a process: their targets, and how they were opened. */
function openFiles(pid: number): { path: string; flags: number }[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => ({
    path: readlinkSync(`/proc/${pid}/fd/${fd}`),
    flags: Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))![1]!, 8),
  }));
}

function writable(pid: number): string[] {
  return openFiles(pid).flatMap(({ path, flags }) => ((flags & 3) === constants.O_RDONLY ? [] : [path]));
}

/** Writes a descriptor into the file that QEMU has open: everything including the header is the attacker's. */
async function become(path: string, content: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.truncate(0);
  await file.write(content, 0);
  await file.close();
}

async function change(path: string, edit: (text: string) => string): Promise<void> {
  const file = await open(path, 'r+');
  const bytes = Buffer.alloc(20 * 512);
  await file.read(bytes, 0, bytes.length, 512);
  const changed = Buffer.alloc(bytes.length);
  changed.write(edit(bytes.toString('latin1').replace(/\0+$/, '')), 'latin1');
  await file.write(changed, 0, changed.length, 512);
  await file.close();
}

const flat = (path: string): string =>
  `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\nRW 8 FLAT "${path}" 0\n`;

const ATTACKS: [string, (path: string) => Promise<void>, RegExp][] = [
  ['a file of the host as its extent', (path) => become(path, flat(secret)), /it is no VMDK/],
  ['one that is longer', (path) => become(path, flat(secret).padEnd(8192, '\n')), /no KDMV magic/],
  [
    'a second extent, a file of the host',
    (path) => change(path, (text) => text.replace(/^(RW .*)$/m, `$1\nRW 8 FLAT "${secret}" 0`)),
    /2 extents/,
  ],
  [
    'another type',
    (path) => change(path, (text) => text.replace('monolithicSparse', 'twoGbMaxExtentSparse')),
    /twoGbMaxExtentSparse/,
  ],
  [
    'another machine’s disk as its parent',
    (path) => change(path, (text) => text.replace(/Hint=".*"/, 'Hint="../lab1/lab1.vmdk"')),
    /its parent is/,
  ],
  [
    'itself as its parent',
    (path) => change(path, (text) => text.replace(/Hint=".*"/, `Hint="${path.split('/').at(-1)}"`)),
    /its parent is/,
  ],
];

describe.each(WAYS)('a VM that is %s', (way) => {
  it('has no name of a disk, log, channel or container on its command line', async () => {
    const { guest, vm } = await started(labs[way], 'while :; do sleep 1; done');
    const told = argumentsOf(vm.pid);
    expect(told).toContain(guest.definition.uuid.slice(0, way === 'spare' ? 8 : undefined));
    expect(told).not.toMatch(/\.vmdk|output\.log|\.sock|snapshots|memory,|mem-path=\/(?!proc\/self\/fd\/\d+)/);
    expect(told).not.toContain(guest.definition.name);
    expect(told).not.toContain(labs[way].paths.datastoreDir);
    await vm.powerOff();
  });

  it('has only its own disk and log, its card and sockets open for writing', async () => {
    const { guest, vm } = await started(labs[way], 'while :; do sleep 1; done');
    const { directory } = guest.definition;
    const own = [`${directory}/${guest.definition.name}.vmdk`, `${directory}/output.log`, `${directory}/qemu.log`];
    const others = writable(vm.pid).filter(
      (path) =>
        !own.includes(path) &&
        !/^(socket:|pipe:|anon_inode:|\/dev\/net\/tun$|\/dev\/null$)/.test(path) &&
        // Its placeholder disk from the pool, which nobody else has open.
        !/\/pool\/\d+\.disk\d+ \(deleted\)$/.test(path),
    );
    expect(others).toEqual([]);
    const memory = openFiles(vm.pid).filter(({ path }) => path.endsWith('/memory'));
    expect(memory.length > 0).toBe(way !== 'booted');
    expect(memory.every(({ flags }) => (flags & 3) === constants.O_RDONLY)).toBe(true);
    await vm.powerOff();
  });

  it.each(ATTACKS)('is not started when its disk has %s', async (_, attack, words) => {
    const lab = labs[way];
    const { guest } = await started(lab, 'true');
    await guest.exit();
    const disk = guest.definition.disks[0]!.path;
    await attack(disk);
    const before = spares(lab);
    const failed = await lab.powerOn(guest).then(
      () => 'it was started',
      (error: Error) => error.message,
    );
    expect(failed).toMatch(words);
    expect(failed).toContain(`disk [datastore1] ${guest.definition.name}/${guest.definition.name}.vmdk cannot be used`);
    // The spare VM is still waiting.
    expect(before.filter((pid) => !spares(lab).includes(pid))).toEqual([]);
    expect(await guest.output()).not.toContain(SECRET);
  });
});

it('a volume with a parent is refused, read-only and writable, also on a second controller', async () => {
  const { guest, vm } = await started(labs.booted, 'true');
  await vm.powerOff();
  const path = join(labs.booted.paths.datastoreDir, 'volume.vmdk');
  await createEmpty(path, 2 ** 24);
  const victim = /^CID=(.*)$/m.exec(await readFile(guest.definition.disks[0]!.path, 'latin1'))![1]!;
  for (const [bus, readOnly] of [
    [0, false],
    [0, true],
    [1, false],
  ] as const) {
    const user = await labs.booted.define({ script: 'true' });
    user.definition.disks.push({ bus, unit: 1, path, readOnly });
    if (!readOnly && bus === 0) {
      await (await labs.booted.powerOn(user)).powerOff();
      const name = `${guest.definition.name}/${guest.definition.name}.vmdk`;
      await change(path, (text) =>
        text.replace(/^parentCID=.*$/m, `parentCID=${victim}\nparentFileNameHint="${name}"`),
      );
    }
    await expect(labs.booted.powerOn(user)).rejects.toThrow(/volume.vmdk cannot be used: .*its parent is/);
  }
});
