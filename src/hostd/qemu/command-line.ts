/** Builds QEMU's command line for a VM. Pure functions only. */
import type { BootImage } from '../../common/paths.js';
import type { RuntimeSerial, VmDefinition } from '../runtime.js';
import { type CageContents, FIRST_FD } from './cage.js';
import type { QemuDialect } from './capabilities.js';
import { hostTscKhz } from './host-tsc.js';

export type Acceleration = 'kvm' | 'tcg';

/** Where the VM's sockets are. */
export interface VmSockets {
  qmp: string;
  guestRpc: string;
  /** A second monitor, over which a VM of the warm pool receives open files. */
  handOver?: string;
}

/** A tap that is ready for the card with that index. */
export interface VmTap {
  index: number;
  mac: string;
  tap: string;
}

/**
 * What is behind a disk's device when QEMU starts. A VM gets its disks only after QEMU has dropped its rights; until then it knows only
 * their size (`given-files.ts`). VMs that a boot snapshot is made of and VMs in the warm pool have raw placeholders, as descriptors that
 * QEMU inherits, because QEMU opens them again when it loads the state.
 */
export type DiskBacking =
  | { kind: 'none'; capacityBytes: number }
  /** `writeFd` is -1 for a disk that is not written to. */
  | { kind: 'raw'; readFd: number; writeFd: number };

/** An inherited descriptor that QEMU has as `/dev/fdset/<set>`. */
export interface InheritedSet {
  set: number;
  fd: number;
}

/**
 * What a boot snapshot is to a VM: `make` while it is being made from the VM, `resume` for a VM that resumes from it, `spare` for one that
 * resumes from it into the warm pool. `memory` is the descriptor of the file that is the VM's memory (`make`) or that it maps
 * copy-on-write.
 */
export interface SnapshotUse {
  use: 'make' | 'resume' | 'spare';
  memory: number;
}

/** For `migrate-set-capabilities`, on both sides: shared memory is not part of the state. */
export const MIGRATION_CAPABILITIES = { capabilities: [{ capability: 'x-ignore-shared', state: true }] };
/** A resumed VM reads its device state from the first descriptor that it inherits. */
export const STATE_FD = FIRST_FD;
/** Descriptors that the launcher makes: the sockets QEMU listens on, and taps. */
const QMP_FD = 4;
const GUEST_RPC_FD = 5;
const HAND_OVER_FD = 6;
const FIRST_TAP_FD = 7;
/** Descriptor sets: raw disks are numbered from 0, then come files behind serial ports, the state, and what VMs are given later. */
const SERIAL_SET = 500;
const STATE_SET = 999;
export const FIRST_GIVEN_SET = 1000;

/** For `migrate-incoming`: where a VM that was started to resume finds its state. */
export function incomingState({ state }: Pick<QemuDialect, 'state'>): { uri: string } {
  return { uri: state === 'file' ? `file:/dev/fdset/${STATE_SET}` : `fd:${STATE_FD}` };
}

/** Id of the GuestRPC port's device: QEMU names it when the guest opens the port. */
export const GUEST_RPC_PORT = 'guestrpc-port';

/**
 * Kernel parameters: quiet, and no waiting for hardware that no container VM has. `panic=-1` with QEMU's `-no-reboot` ends a VM whose
 * kernel gives up. CPU mitigations are off: the guest kernel and the container share one trust domain, and the host's own mitigations
 * protect the host.
 */
const KERNEL_PARAMETERS = [
  'quiet',
  'panic=-1',
  'noreplace-smp',
  'tsc=reliable',
  'no_timer_check',
  'cryptomgr.notests',
  '8250.nr_uarts=0',
  'random.trust_cpu=on',
  'rcupdate.rcu_expedited=1',
  'mitigations=off',
  'audit=0',
  'nowatchdog',
  'i8042.noaux',
  'i8042.nokbd',
  'net.ifnames=0',
];

/** The part of QEMU's command line that no other process has. */
export function processName(sockets: Pick<VmSockets, 'qmp'>): string {
  return `guest=${sockets.qmp}`;
}

/** What the launcher makes for QEMU; see `cage.ts`. */
export function madeDescriptors(
  sockets: VmSockets,
  taps: readonly Pick<VmTap, 'tap'>[],
): Pick<CageContents, 'listeners' | 'taps'> {
  return {
    listeners: [
      { fd: QMP_FD, path: sockets.qmp },
      { fd: GUEST_RPC_FD, path: sockets.guestRpc },
      ...(sockets.handOver === undefined ? [] : [{ fd: HAND_OVER_FD, path: sockets.handOver }]),
    ],
    taps: taps.map(({ tap }, place) => ({ fd: FIRST_TAP_FD + place, name: tap })),
  };
}

/** A value inside a QEMU option list: commas are doubled. */
function value(text: string): string {
  return text.replaceAll(',', ',,');
}

/**
 * The arguments for one VM. Machine type `pc`: it hot-plugs over ACPI without root ports and boots as fast as q35 when the kernel
 * is started by its PVH entry.
 */
export function qemuArguments(
  vm: VmDefinition,
  options: {
    acceleration: Acceleration;
    dialect: QemuDialect;
    boot: BootImage;
    sockets: VmSockets;
    taps: VmTap[];
    /** In the order of the definition's. */
    disks: DiskBacking[];
    /** Descriptors of the files behind serial ports, by the ports' index. */
    serialFiles: ReadonlyMap<number, number>;
    /** Its disks, as inherited descriptors. QEMU then starts stopped, so that they can be put in place before the VM runs. */
    given?: InheritedSet[];
    snapshot?: SnapshotUse;
  },
): string[] {
  const { acceleration, dialect, boot, sockets, taps, snapshot, given } = options;
  const args = [
    // The process is found again by this name. Every user of the machine can read it, so it must not tell the container's name.
    ['-name', value(processName(sockets))],
    ['-uuid', vm.uuid],
    ['-nodefaults', '-no-user-config', '-no-reboot'],
    ['-display', 'none'],
    ...(dialect.unfiltered
      ? []
      : [['-sandbox', 'on,obsolete=deny,spawn=deny,resourcecontrol=deny,elevateprivileges=deny']]),
    ['-machine', `pc,usb=off,hpet=off,vmport=off${snapshot === undefined ? '' : ',memory-backend=ram'}`],
    ...memoryArguments(vm.memoryMiB, snapshot),
    ...(given === undefined ? [] : [['-S'], ...given.map(({ set, fd }) => ['-add-fd', `fd=${fd},set=${set}`])]),
    acceleration === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : // With ERMS the guest would copy with `rep movsb`, which the emulator executes byte by byte.
        ['-accel', 'tcg,thread=multi,tb-size=32', '-cpu', 'max,-erms'],
    ['-smp', String(vm.cpus)],
    ['-m', `${vm.memoryMiB}M`],
    // A resumed VM already has its kernel in memory.
    ...(isResumed(snapshot) ? [] : bootArguments(boot, acceleration, snapshot?.use === 'make')),
    ...(isResumed(snapshot) && dialect.state === 'file' ? [['-add-fd', `fd=${STATE_FD},set=${STATE_SET}`]] : []),
    ...monitorArguments('qmp', QMP_FD, dialect),
    ...(sockets.handOver === undefined ? [] : monitorArguments('handover', HAND_OVER_FD, dialect)),
    ['-device', 'virtio-balloon-pci,free-page-reporting=on'],
    ['-device', 'virtio-serial-pci,id=ports,max_ports=16'],
  ];
  for (const { index, backing } of vm.serials) {
    const id = `serial${index}`;
    const file = options.serialFiles.get(index);
    if (backing.kind === 'file' && file !== undefined) args.push(['-add-fd', `fd=${file},set=${SERIAL_SET + index}`]);
    args.push(['-chardev', serialBacking(id, backing, SERIAL_SET + index)]);
    args.push(['-device', `virtserialport,bus=ports.0,chardev=${id},name=${id}`]);
  }
  // This port comes last: a guest that finds it also finds the others.
  args.push(['-chardev', `socket,id=guestrpc,fd=${GUEST_RPC_FD},server=on,wait=off`]);
  args.push(['-device', `virtserialport,bus=ports.0,chardev=guestrpc,name=guestrpc,id=${GUEST_RPC_PORT}`]);
  let further = -1;
  for (const [index, disk] of vm.disks.entries()) {
    const id = `disk${disk.bus}-${disk.unit}`;
    const backing = options.disks[index] ?? { kind: 'none', capacityBytes: 0 };
    const readOnly = disk.readOnly ? ',readonly=on' : '';
    if (backing.kind === 'none') {
      args.push(['-drive', `if=none,id=${id},driver=null-co,size=${backing.capacityBytes}${readOnly}`]);
    } else {
      for (const fd of [backing.readFd, backing.writeFd]) if (fd >= 0) args.push(['-add-fd', `fd=${fd},set=${index}`]);
      // Nobody else has the file, and QEMU opens it twice: it would take its own lock for somebody else's.
      const file = `file.driver=file,file.locking=off,file.filename=/dev/fdset/${index}`;
      args.push(['-drive', `if=none,id=${id},format=raw,cache=writeback,${file}${readOnly}`]);
    }
    if (disk.bus > 0) further++;
    const device = `virtio-blk-pci,id=${id}-device,drive=${id},serial=scsi${disk.bus}:${disk.unit}`;
    args.push(['-device', `${device}${disk.bus > 0 ? furtherAddress(further) : ''}`]);
  }
  for (const [place, { index, mac }] of taps.entries()) {
    args.push(['-netdev', `tap,id=net${index},fd=${FIRST_TAP_FD + place}`]);
    args.push(['-device', `virtio-net-pci,netdev=net${index},mac=${mac},romfile=`]);
  }
  return args.flat();
}

/** PCI slots for the disks of further SCSI controllers (45 at most): from this one to the last, 0x1f. */
const FURTHER_SLOT = 0x1a;
const FUNCTIONS = 8;

/**
 * PCI address of a disk on a further controller. Disks of the first controller get a slot each, in order. There are not enough slots for
 * the others, so they share slots as functions of them; `index` counts them.
 */
function furtherAddress(index: number): string {
  const slot = FURTHER_SLOT + Math.floor(index / FUNCTIONS);
  return `,num-queues=1,ioeventfd=off,disable-legacy=on,multifunction=on,addr=0x${slot.toString(16)}.${index % FUNCTIONS}`;
}

function isResumed(snapshot: SnapshotUse | undefined): boolean {
  return snapshot !== undefined && snapshot.use !== 'make';
}

function monitorArguments(id: string, fd: number, { monitor }: QemuDialect): string[][] {
  return [
    ['-chardev', `socket,id=${id},fd=${fd},server=on,wait=off`],
    monitor === 'mon'
      ? ['-mon', `chardev=${id},mode=control`]
      : ['-object', `monitor-qmp,id=${id}-monitor,chardev=${id}`],
  ];
}

/** This QEMU's parameter for reconnecting to a socket a second after it was closed. */
export function reconnectParameter({ reconnect }: Pick<QemuDialect, 'reconnect'>): Record<string, number> {
  return { [reconnect]: reconnect === 'reconnect' ? 1 : 1000 };
}

/**
 * A file is there from the start. A connection to a socket's listener is given later; until then the guest sees the port as disconnected.
 */
function serialBacking(id: string, backing: RuntimeSerial['backing'], set: number): string {
  return backing.kind === 'file' ? `file,id=${id},path=/dev/fdset/${set},append=on` : `null,id=${id}`;
}

function bootArguments(boot: BootImage, acceleration: Acceleration, rehearse: boolean): string[][] {
  // An emulated guest that calibrates its counter on a busy machine may be off by a factor, and then its clock is too.
  const tsc = acceleration === 'tcg' ? hostTscKhz() : null;
  const more = [...(tsc === null ? [] : [`tsc_early_khz=${tsc}`]), ...(rehearse ? ['caisson.rehearse=1'] : [])];
  return [
    ['-kernel', boot.kernel],
    ['-initrd', boot.initramfs],
    ['-append', [...KERNEL_PARAMETERS, ...more].join(' ')],
  ];
}

/**
 * A snapshot's memory is a file: the VM that it is made from maps it shared, resumed VMs map it copy-on-write. Only the rest goes into its
 * state (see {@link MIGRATION_CAPABILITIES}). For resumed VMs, punching holes into the file must seem to succeed (`launcher/filter.c`).
 */
function memoryArguments(memoryMiB: number, snapshot: SnapshotUse | undefined): string[][] {
  if (snapshot === undefined) return [];
  const share = snapshot.use === 'make' ? 'on' : 'off';
  const path = `/proc/self/fd/${snapshot.memory}`;
  return [
    ['-object', `memory-backend-file,id=ram,size=${memoryMiB}M,mem-path=${path},share=${share}`],
    ...(snapshot.use === 'make' ? [] : [['-incoming', 'defer']]),
  ];
}
