import { describe, expect, it } from 'vitest';
import { type DiskBacking, qemuArguments } from '../../../src/hostd/qemu/command-line.js';
import type { VmDefinition } from '../../../src/hostd/runtime.js';

const vm: VmDefinition = {
  moid: 'vm-7',
  uuid: '00000000-0000-4000-8000-000000000007',
  name: 'web,1',
  directory: '/store/web',
  cpus: 2,
  memoryMiB: 2048,
  disks: [
    { bus: 0, unit: 0, path: '/store/a,b.vmdk', readOnly: false },
    { bus: 0, unit: 1, path: '/store/ro.vmdk', readOnly: true },
  ],
  nics: [{ index: 0, mac: '00:0c:29:aa:bb:cc', portGroup: 'bridge', connected: true }],
  serials: [
    { index: 0, backing: { kind: 'unixClient', path: '/run/c,h.sock' } },
    { index: 1, backing: { kind: 'file', path: '/store/output.log' } },
  ],
  extraConfig: new Map(),
};
const options = {
  acceleration: 'tcg' as const,
  dialect: { reconnect: 'reconnect', state: 'fd', monitor: 'mon' } as const,
  boot: { kernel: '/boot/kernel', initramfs: '/boot/initramfs' },
  sockets: { qmp: '/run/vm-7.qmp', guestRpc: '/run/vm-7.rpc' },
  taps: [{ index: 0, mac: '00:0c:29:aa:bb:cc', tap: 't7n0' }],
  disks: [
    { kind: 'none' as const, capacityBytes: 1024 },
    { kind: 'none' as const, capacityBytes: 2048 },
  ],
  serialFiles: new Map([[1, 7]]),
};

/** The values of an option. */
function given(option: string, args = qemuArguments(vm, options)): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1]!] : []));
}

describe("QEMU's command line", () => {
  it.each([
    ['-name', ['guest=/run/vm-7.qmp']],
    ['-uuid', ['00000000-0000-4000-8000-000000000007']],
    ['-smp', ['2']],
    ['-m', ['2048M']],
    ['-kernel', ['/boot/kernel']],
    ['-initrd', ['/boot/initramfs']],
    ['-sandbox', ['on,obsolete=deny,spawn=deny,resourcecontrol=deny,elevateprivileges=deny']],
    [
      '-drive',
      ['if=none,id=disk0-0,driver=null-co,size=1024', 'if=none,id=disk0-1,driver=null-co,size=2048,readonly=on'],
    ],
    ['-netdev', ['tap,id=net0,fd=7']],
  ])('has %s %j', (option, values) => {
    expect(given(option)).toEqual(values);
  });

  it('names disks, serial ports and network cards so that the guest finds them', () => {
    const devices = given('-device');
    expect(devices).toContain('virtio-blk-pci,id=disk0-0-device,drive=disk0-0,serial=scsi0:0');
    expect(devices).toContain('virtio-blk-pci,id=disk0-1-device,drive=disk0-1,serial=scsi0:1');
    expect(devices).toContain('virtserialport,bus=ports.0,chardev=guestrpc,name=guestrpc,id=guestrpc-port');
    expect(devices).toContain('virtserialport,bus=ports.0,chardev=serial0,name=serial0');
    expect(devices).toContain('virtserialport,bus=ports.0,chardev=serial1,name=serial1');
    expect(devices).toContain('virtio-net-pci,netdev=net0,mac=00:0c:29:aa:bb:cc,romfile=');
    expect(given('-chardev')).toContain('null,id=serial0');
    expect(given('-chardev')).toContain('file,id=serial1,path=/dev/fdset/501,append=on');
    expect(given('-add-fd')).toEqual(['fd=7,set=501']);
  });

  it('reveals no path of a disk, log or channel and no container name, however the VM is started', () => {
    const raw: DiskBacking[] = [
      { kind: 'raw', readFd: 4, writeFd: 5 },
      { kind: 'raw', readFd: 6, writeFd: -1 },
    ];
    const all = [
      qemuArguments(vm, options),
      qemuArguments(vm, { ...options, given: [{ set: 1000, fd: 9 }] }),
      qemuArguments(vm, { ...options, given: [], snapshot: { use: 'resume', memory: 4 } }),
      qemuArguments(vm, { ...options, disks: raw, snapshot: { use: 'spare', memory: 4 } }),
      qemuArguments(vm, { ...options, disks: raw, snapshot: { use: 'make', memory: 4 } }),
    ];
    for (const args of all) expect(args.join(' ')).not.toMatch(/store|c,?,?h\.sock|web/);
  });

  it('starts paused until its disks are passed to it', () => {
    const args = qemuArguments(vm, { ...options, given: [{ set: 1000, fd: 9 }] });
    expect(args).toContain('-S');
    expect(given('-add-fd', args)[0]).toBe('fd=9,set=1000');
    expect(qemuArguments(vm, options)).not.toContain('-S');
  });

  it('shares the memory when a boot snapshot is made, and maps it privately when a VM resumes from it', () => {
    const disks: DiskBacking[] = [
      { kind: 'raw', readFd: 4, writeFd: 5 },
      { kind: 'raw', readFd: 6, writeFd: -1 },
    ];
    const make = qemuArguments(vm, { ...options, disks, snapshot: { use: 'make', memory: 3 } });
    expect(given('-object', make)).toEqual(['memory-backend-file,id=ram,size=2048M,mem-path=/proc/self/fd/3,share=on']);
    expect(given('-add-fd', make)).toEqual(['fd=7,set=501', 'fd=4,set=0', 'fd=5,set=0', 'fd=6,set=1']);
    expect(given('-drive', make)).toEqual([
      'if=none,id=disk0-0,format=raw,cache=writeback,file.driver=file,file.locking=off,file.filename=/dev/fdset/0',
      'if=none,id=disk0-1,format=raw,cache=writeback,file.driver=file,file.locking=off,file.filename=/dev/fdset/1,readonly=on',
    ]);
    const resume = qemuArguments(vm, { ...options, given: [], snapshot: { use: 'resume', memory: 4 } });
    expect(given('-object', resume)).toEqual([
      'memory-backend-file,id=ram,size=2048M,mem-path=/proc/self/fd/4,share=off',
    ]);
    expect(given('-incoming', resume)).toEqual(['defer']);
    for (const args of [make, resume])
      expect(given('-device', args)).toContain('virtio-balloon-pci,free-page-reporting=on');
    expect(given('-machine', make)).toEqual(given('-machine', resume));
  });

  it('packs the disks of further controllers into multifunction slots, each starting at function 0', () => {
    const place = (index: number): { bus: number; unit: number } => ({
      bus: 1 + Math.floor(index / 15),
      unit: index % 15,
    });
    const disks = Array.from({ length: 45 }, (_, i) => ({ ...place(i), path: `/store/${i}.vmdk`, readOnly: false }));
    const args = qemuArguments({ ...vm, disks: [...vm.disks, ...disks] }, options);
    const devices = given('-device', args).filter((device) => device.startsWith('virtio-blk-pci'));
    expect(devices.slice(0, 2).join()).not.toContain('addr=');
    const addresses = devices.slice(2).map((device) => /multifunction=on,addr=0x(..)\.(.)$/.exec(device)?.slice(1));
    expect(addresses[0]).toEqual(['1a', '0']);
    expect(addresses[44]).toEqual(['1f', '4']);
    expect(new Set(addresses.map((address) => address?.join('.'))).size).toBe(45);
  });

  it('selects the working accelerator', () => {
    expect(given('-accel')[0]).toMatch(/^tcg,thread=multi/);
    expect(given('-accel', qemuArguments(vm, { ...options, acceleration: 'kvm' }))).toEqual(['kvm']);
  });

  it('leaves out the sandbox where the kernel has no seccomp filters', () => {
    expect(given('-sandbox')).toHaveLength(1);
    const dialect = { ...options.dialect, unfiltered: true };
    expect(given('-sandbox', qemuArguments(vm, { ...options, dialect }))).toEqual([]);
  });
});
