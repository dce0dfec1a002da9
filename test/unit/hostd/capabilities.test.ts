import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type QemuAnswers, readCapabilities } from '../../../src/hostd/qemu/capabilities.js';
import { incomingState, qemuArguments } from '../../../src/hostd/qemu/command-line.js';
import { answersFile, forgetAnswers, keptCapabilities, qemuInPath } from '../../../src/hostd/qemu/kept-answers.js';
import { complaints } from '../../../src/hostd/qemu/qemu-words.js';
import { socketBackend } from '../../../src/hostd/qemu/serial-ports.js';

/** The lines of `-help` that begin with an option, as every version has them. */
const COMMON_HELP = [
  '-machine [type=]name[,prop[=value][,...]]',
  '-object TYPENAME[,PROP1=VALUE1,...]',
  '-add-fd fd=fd,set=set[,opaque=opaque]',
  '-device driver[,prop[=value][,...]]',
  '-drive [file=file][,if=type][,bus=n][,unit=m][,media=d][,index=i]',
  '-netdev tap,id=str[,fd=h][,fds=x:y:...:z][,ifname=name][,script=file][,downscript=dfile]',
  '-mon [chardev=]name[,mode=readline|control][,pretty[=on|off]]',
  '-incoming defer',
  '-sandbox on[,obsolete=allow|deny][,elevateprivileges=allow|deny|children]',
];
const group = (option: string, ...names: string[]) => ({ option, parameters: names.map((name) => ({ name })) });
const SANDBOX = group('sandbox', 'enable', 'obsolete', 'elevateprivileges', 'spawn', 'resourcecontrol');
const CHARDEV = ['backend', 'path', 'host', 'port', 'server', 'wait', 'append', 'mux'];

/** QEMU's answers on Debian 12, 13 and sid, limited to what is used. */
const recorded: Record<string, QemuAnswers> = {
  '7.2': answers('QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)', {
    help: [
      '-runas user     change to user id user just before starting the VM',
      '-chardev socket,id=id,path=path[,reconnect=seconds]',
    ],
    options: [SANDBOX, group('chardev', ...CHARDEV, 'reconnect')],
  }),
  '10.0': answers('QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)', {
    help: [
      '-run-with [async-teardown=on|off][,chroot=dir][user=username|uid:gid]',
      '-chardev socket,id=id,path=path[,reconnect-ms=milliseconds]',
    ],
    options: [
      SANDBOX,
      group('run-with', 'async-teardown', 'chroot', 'user'),
      group('chardev', ...CHARDEV, 'reconnect', 'reconnect-ms'),
    ],
    addresses: ['socket', 'exec', 'rdma', 'file'],
  }),
  '11.1': answers('QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)', {
    // There, the user option is on the next line.
    help: [
      '-run-with [async-teardown=on|off][,chroot=dir]',
      '-chardev socket,id=id,path=path[,reconnect-ms=milliseconds]',
    ],
    options: [
      SANDBOX,
      group('run-with', 'async-teardown', 'chroot', 'exit-with-parent', 'user'),
      group('chardev', ...CHARDEV, 'reconnect-ms'),
    ],
    addresses: ['socket', 'exec', 'rdma', 'file'],
    monitors: ['monitor-hmp', 'monitor-qmp'],
  }),
};

interface Own {
  help: string[];
  options: QemuAnswers['options'];
  addresses?: string[];
  monitors?: string[];
}

function answers(version: string, own: Own): QemuAnswers {
  return {
    version,
    help: [...COMMON_HELP, ...own.help].join('\n'),
    options: own.options,
    machines: ['pc-i440fx', 'pc', 'q35', 'none'],
    devices: ['virtio-blk-pci', 'virtio-net-pci', 'virtio-serial-pci', 'virtserialport', 'virtio-balloon-pci'],
    migration: ['events', 'x-ignore-shared'],
    objects: ['memory-backend-file', ...(own.monitors ?? [])],
    enumerations: [['none', 'file', 'socket'], ...(own.addresses === undefined ? [] : [own.addresses])],
    accelerators: 'Accelerators supported in QEMU binary:\ntcg\nkvm\n',
    formats: 'Supported formats: file qcow2 raw vmdk vvfat\n',
  };
}

const vm = {
  moid: 'vm-7',
  uuid: '00000000-0000-4000-8000-000000000007',
  name: 'web',
  directory: '/store/web',
  cpus: 1,
  memoryMiB: 256,
  disks: [],
  nics: [],
  serials: [{ index: 0, backing: { kind: 'unixClient' as const, path: '/run/channel.sock' } }],
  extraConfig: new Map<string, string>(),
};

/** A VM without disks and cards. */
const BARE = {
  acceleration: 'tcg' as const,
  boot: { kernel: '/k', initramfs: '/i' },
  sockets: { qmp: '/q', guestRpc: '/r' },
  taps: [],
  disks: [],
  serialFiles: new Map(),
};

describe('the options for a QEMU', () => {
  it.each([
    ['7.2', { reconnect: 1 }],
    ['10.0', { 'reconnect-ms': 1000 }],
    ['11.1', { 'reconnect-ms': 1000 }],
  ])('are derived from the answers of QEMU %s: %j', (version, member) => {
    const dialect = readCapabilities(recorded[version]!);
    expect(dialect.snapshots).toBe(true);
    const args = qemuArguments(vm, { ...BARE, dialect });
    expect(args.join(' ')).toContain('elevateprivileges=deny');
    expect(socketBackend('/run/channel.sock', dialect)).toMatchObject({ data: member });
  });

  it.each([
    ['7.2', 'fd:20', '-mon chardev=qmp,mode=control'],
    ['10.0', 'file:/dev/fdset/999', '-mon chardev=qmp,mode=control'],
    ['11.1', 'file:/dev/fdset/999', '-object monitor-qmp,id=qmp-monitor,chardev=qmp'],
  ])('QEMU %s loads its saved state from %s, and serves its monitor by %s', (version, uri, monitor) => {
    const dialect = readCapabilities(recorded[version]!);
    expect(incomingState(dialect)).toEqual({ uri });
    const args = qemuArguments(vm, { ...BARE, dialect, snapshot: { use: 'resume', memory: 4 } }).join(' ');
    expect(args).toContain(monitor);
    expect(args.includes('-add-fd fd=20,set=999')).toBe(uri.startsWith('file:'));
  });

  it('do not depend on its version number', () => {
    const backported = readCapabilities({ ...recorded['10.0']!, version: 'QEMU emulator version 7.2.0' });
    expect(backported.reconnect).toBe('reconnect-ms');
  });

  it.each<[string, Partial<QemuAnswers>, RegExp]>([
    ['no seccomp', { options: recorded['10.0']!.options.filter(({ option }) => option !== 'sandbox') }, /-sandbox/],
    ['no machine', { machines: ['q35'] }, /machine type pc/],
    ['no balloon', { devices: ['virtio-blk-pci'] }, /virtio-balloon-pci/],
    ['no VMDKs', { formats: 'Supported formats: raw qcow2' }, /format vmdk/],
    ['no monitor', { help: recorded['10.0']!.help.replace(/^-mon .*$/m, '') }, /a monitor/],
    ['no accelerator', { accelerators: 'Accelerators supported in QEMU binary:\nxen\n' }, /accelerator/],
  ])('a QEMU with %s is refused with advice', (_, changed, words) => {
    const refused = (): unknown => readCapabilities({ ...recorded['10.0']!, ...changed });
    expect(refused).toThrow(words);
    expect(refused).toThrow(/Install one of these/);
  });

  it('its warnings are not taken for the reason it ended', () => {
    const printed = "qemu: -mon x: warning: '-mon' is deprecated\nqemu: -drive y: Could not open 'y'\n";
    expect(complaints(printed)).toEqual(["qemu: -drive y: Could not open 'y'"]);
    expect(complaints('qemu: warning: only this\n')).toEqual([]);
  });

  it('there are no snapshots where a state cannot be saved without memory', () => {
    expect(readCapabilities({ ...recorded['7.2']!, migration: ['events'] }).snapshots).toBe(false);
  });
});

describe('what QEMU answered', () => {
  let directory: string;
  /** Versions in the order in which they were asked. */
  let asked: string[];
  const known = (qemu: string | null, version = '10.0') =>
    keptCapabilities(answersFile(directory), qemu, async () => {
      asked.push(version);
      return recorded[version]!;
    });
  beforeEach(() => {
    asked = [];
    directory = mkdtempSync(join(tmpdir(), 'caisson-answers-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is not asked again after a crash', async () => {
    const first = await known('one');
    expect(await known('one', '7.2')).toEqual(first);
    expect(asked).toEqual(['10.0']);
  });

  it.each<[string, string | null, (file: string) => unknown]>([
    ['another QEMU is there', 'other', () => undefined],
    ['it cannot be told which QEMU is there', null, () => undefined],
    ['the file is damaged', 'one', (file) => writeFileSync(file, '{"qemu":"one"')],
    ['another version of hostd wrote it', 'one', (file) => writeFileSync(file, '{"qemu":"one","answers":{}}')],
    ['hostd ended in order', 'one', () => forgetAnswers(directory)],
  ])('is asked again if %s', async (_, qemu, happens) => {
    await known('one');
    await happens(answersFile(directory));
    expect((await known(qemu, '7.2')).reconnect).toBe('reconnect');
    expect(asked).toEqual(['10.0', '7.2']);
  });

  it('is that of the first program in PATH that can be run, as it is now', async () => {
    const [first, second] = [join(directory, 'a'), join(directory, 'b')];
    for (const one of [first, second]) mkdirSync(one);
    expect(await qemuInPath(`${first}:${second}`)).toBeNull();
    const program = join(second, 'qemu-system-x86_64');
    writeFileSync(program, 'one', { mode: 0o755 });
    writeFileSync(join(first, 'qemu-system-x86_64'), '', { mode: 0o644 });
    const before = await qemuInPath(`${first}:${second}`);
    expect(before).toContain(program);
    expect(await qemuInPath(`${first}:${second}`)).toBe(before);
    rmSync(program);
    writeFileSync(program, 'two', { mode: 0o755 });
    expect(await qemuInPath(`${first}:${second}`)).not.toBe(before);
    chmodSync(join(first, 'qemu-system-x86_64'), 0o755);
    expect(await qemuInPath(`${first}:${second}`)).toContain(first);
  });
});
