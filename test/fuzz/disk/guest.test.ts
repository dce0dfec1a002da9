/** The final check: a guest's kernel mounts the layers, writes over them, is killed, and the result is read back. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bootImage, cacheDirectory } from '../../../src/common/paths.js';
import { ChangedDisk, createChild, Ext4Filesystem, FileBlocks, VmdkChain } from '../../../src/disk/index.js';
import { CpioWriter } from '../../../tether/image/cpio.js';
import {
  contentOf,
  describe as describeFiles,
  type Entry,
  flatten,
  fsck,
  program,
  Stack,
  tarOf,
  temporaryDirectory,
  withFilesystem,
} from '../../unit/disk/support.js';

const MODULES = ['virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'virtio_blk'];

let directory: string;
let remove: () => Promise<void>;
let machine: ChildProcess | null = null;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(async () => {
  machine?.kill('SIGKILL');
  await remove();
});

const INIT = `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t devtmpfs dev /dev; $B mount -t sysfs sys /sys
for m in ${MODULES.join(' ')}; do $B insmod /modules/$m.ko; done
for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] && break; $B sleep 0.2; done
$B mount -t ext4 /dev/vda /mnt || echo "MOUNT FAILED"
cd /mnt
echo "COUNT $($B find . | $B wc -l)"
echo "SUM $($B find . -type f | $B sort | $B xargs $B cat | $B md5sum)"
echo "ONE $($B cat big/file-4321)"
echo "CAP $($B stat -c '%a %u %g %Y' tool)"
$B rm big/file-1 && $B rm -r gone && $B mv tool moved
i=0; while [ $i -lt 200 ]; do echo $i > big/new-$i; i=$((i+1)); done
$B mkdir fresh; $B ln moved fresh/link; $B ln -s ../moved fresh/sym
$B dd if=/dev/zero of=fresh/zeros bs=64k count=40 2>/dev/null
$B sync
$B dmesg | $B grep -iE 'ext4.*(error|warn|corrupt)' && echo "KERNEL COMPLAINED"
echo "READY"
while :; do $B sleep 1; done
`;

async function initramfs(): Promise<Buffer> {
  const root = join(cacheDirectory(), 'kernel', 'modules');
  const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('.ko'));
  const archive = new CpioWriter();
  for (const name of ['bin', 'modules', 'proc', 'dev', 'sys', 'mnt']) archive.directory(name);
  archive.file('bin/busybox', await readFile('/bin/busybox'), 0o755);
  for (const module of MODULES) {
    const file = files.find((candidate) => basename(candidate) === `${module}.ko`);
    if (file !== undefined) archive.file(`modules/${module}.ko`, await readFile(join(root, file)));
  }
  return archive.file('init', Buffer.from(INIT), 0o755).bytes();
}

/** Boots a machine with `disk` and returns what it prints until it says READY, then kills it. */
function boot(kernel: string, initrd: string, disk: string): Promise<string> {
  const qemu = spawn('qemu-system-x86_64', [
    // Not microvm: without a PM timer its clock cannot always be calibrated, and some boots hang.
    ...['-M', 'pc,accel=tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-m', '256'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1'],
    ...['-serial', 'stdio', '-drive', `if=none,id=d,file=${disk},format=vmdk`, '-device', 'virtio-blk-pci,drive=d'],
  ]);
  machine = qemu;
  let output = '';
  return new Promise((resolve, reject) => {
    qemu.stdout.on('data', (data: Buffer) => {
      output += data.toString();
      if (/^READY/m.test(output)) qemu.kill('SIGKILL');
    });
    qemu.stderr.on('data', (data: Buffer) => {
      output += data.toString();
    });
    qemu.on('error', reject);
    qemu.on('exit', () => resolve(output.replaceAll('\r', '')));
  });
}

const kernel = bootImage().kernel;

test.skipIf(!existsSync(kernel))(
  'a kernel mounts layers, writes and is killed; the journal is replayed as by e2fsck',
  async () => {
    const stack = new Stack(directory);
    const many = (prefix: string, count: number) =>
      Array.from({ length: count }, (_, i): Entry => ({ name: `big/${prefix}-${i}`, content: `content ${i}` }));
    await stack.add(
      await tarOf([
        ...many('file', 5000),
        { name: 'gone/below/x', content: 'x' },
        { name: 'tool', content: 'binary', mode: 0o4755, uid: 1000, gid: 70000 },
      ]),
    );
    await stack.add(await tarOf([{ name: 'big/.wh.file-2' }, { name: 'second', content: 'y'.repeat(100_000) }]));
    const child = join(directory, 'child.vmdk');
    await createChild(child, stack.top);
    const parents = await Promise.all(stack.paths.map((path) => readFile(path)));
    const initrd = join(directory, 'initrd');
    await writeFile(initrd, await initramfs());
    const output = await boot(kernel, initrd, child);
    expect(output).toContain('COUNT 5006\n');
    expect(output).toContain('ONE content 4321\n');
    expect(output).toContain('CAP 4755 1000 70000 1600000000\n');
    expect(output).not.toMatch(/FAILED|COMPLAINED|No such file/);
    for (const [i, path] of stack.paths.entries())
      expect((await readFile(path)).equals(parents[i] as Buffer)).toBe(true);

    // The killed machine's disk, with a journal to be replayed.
    const raw = join(directory, 'raw');
    await flatten(child, raw);
    expect((await program('dumpe2fs', '-h', raw)).output).toContain('needs_recovery');
    const repaired = join(directory, 'repaired');
    await flatten(child, repaired); // not a copy of the file: that would read 32 GiB of zeros
    expect((await program('e2fsck', '-E', 'journal_only', '-y', repaired)).code).toBeLessThan(2);
    expect((await program('e2fsck', '-fn', repaired)).output).toContain('Pass 5');
    const file = await FileBlocks.open(repaired);
    const expected = await describeFiles(await Ext4Filesystem.open(file));
    await file.close();
    await withFilesystem(child, async (filesystem) => {
      const ours = await describeFiles(filesystem);
      expect(ours.files).toEqual(expected.files);
      expect(ours.links).toEqual(expected.links);
      expect(await contentOf(filesystem, 'big/new-150')).toBe('150\n');
      expect((await filesystem.stat('fresh/link')).nlink).toBe(2);
      await expect(filesystem.stat('gone')).rejects.toMatchObject({ kind: 'notFound' });
      expect((await filesystem.stat('fresh/zeros')).size).toBe(40 * 65536);
    });

    // Now changed in place: the journal is replayed first.
    const parent = await VmdkChain.open(stack.top);
    const disk = await ChangedDisk.open(child, parent);
    const attributes = {
      mode: 0o644,
      uid: 1,
      gid: 2,
      mtime: { sec: 5, nsec: 6 },
      atime: { sec: 7, nsec: 8 },
      xattrs: null,
    };
    const big = (await disk.filesystem.directoryAt(['big'], null)) as number;
    for (let i = 0; i < 300; i++) {
      const writer = await disk.filesystem.beginFile(big, `new-${i}`);
      await writer.write(Buffer.from(`changed ${i}`));
      await disk.filesystem.endFile(big, `new-${i}`, attributes);
    }
    await disk.filesystem.remove(disk.filesystem.root, 'fresh');
    await disk.finish();
    await parent.close();
    const checked = await fsck(child);
    expect(checked.output).not.toContain('needs_recovery');
    expect(checked.code, checked.output).toBe(0);
    await withFilesystem(child, async (filesystem) => {
      const now = await describeFiles(filesystem);
      for (const [path, file] of expected.files) {
        if (/^\/(fresh|big\/new-)/.test(path) || path === '/big' || path === '') continue;
        expect(now.files.get(path), path).toEqual(path === '/moved' ? { ...file, nlink: 1 } : file);
      }
      expect(await contentOf(filesystem, 'big/new-150')).toBe('changed 150');
      expect(await contentOf(filesystem, 'big/new-299')).toBe('changed 299');
      await expect(filesystem.stat('fresh')).rejects.toMatchObject({ kind: 'notFound' });
    });

    // And the kernel accepts it.
    const again = await boot(kernel, initrd, child);
    expect(again).toContain('ONE content 4321\n');
    expect(again).not.toMatch(/FAILED|COMPLAINED/);
  },
);
