/** QEMU's command line for a VM: pure. */
import type { BootImage } from '../../common/paths.js';
import type { RuntimeSerial, VmDefinition } from '../runtime.js';
import type { QemuDialect } from './capabilities.js';
import { hostTscKhz } from './host-tsc.js';

export type Acceleration = 'kvm' | 'tcg';

/** Group that QEMU processes run as, so that they may connect to channel sockets; needs no entry in /etc/group. */
export const QEMU_GID = 64100;
/** First of the users of QEMU processes, and how many there are; none needs an entry in /etc/passwd. */
const FIRST_UID = 64101;
const UIDS = 1000;
/** First of the users of QEMUs that wait in the warm pool, and stay theirs: no VM that was started otherwise has one of them. */
const FIRST_SPARE_UID = FIRST_UID + UIDS;

/** The user of a VM's QEMU: another one for each VM (of any thousand in a row), so that one that was taken over cannot harm the others. */
export function qemuUid(moid: string): number {
  return FIRST_UID + (vmNumber(moid) % UIDS);
}

/** The same for a VM of the warm pool. */
export function spareUid(moid: string): number {
  return FIRST_SPARE_UID + (vmNumber(moid) % UIDS);
}

function vmNumber(moid: string): number {
  return Number(/(\d+)$/.exec(moid)?.[1] ?? 0);
}

/** Where the VM's sockets are. */
export interface VmSockets {
  qmp: string;
  guestRpc: string;
  /** A second monitor, over which a VM of the warm pool is handed open files. */
  handOver?: string;
}

/** A tap that is ready, for the card of that index. */
export interface VmTap {
  index: number;
  mac: string;
  tap: string;
}

/** A disk of a resumed VM, by descriptors that QEMU has: it opens the file anew when it has dropped its rights. */
export interface OpenDisk {
  readFd: number;
  /** -1 for a disk that is not written to. */
  writeFd: number;
}

/**
 * A boot snapshot's part in a VM: `make` when it is being made, with `memory` the file to put the VM's memory into; `resume` for a
 * VM that goes on from it, with its disks in the order of the definition's; `spare` for one that goes on from it into the warm pool,
 * with raw placeholders for disks and nothing behind its serial ports.
 */
export type SnapshotUse =
  | { use: 'make'; memory: string }
  | { use: 'resume' | 'spare'; memory: string; disks: OpenDisk[] };

/** For `migrate-set-capabilities`, on both sides: shared memory is not part of the state. */
export const MIGRATION_CAPABILITIES = { capabilities: [{ capability: 'x-ignore-shared', state: true }] };
/** The file descriptor from which a resumed VM reads its device state. */
export const STATE_FD = 3;
/** The set that it is in; those of disks are numbered from 0, those of files that are handed over from 1000. */
const STATE_SET = 999;

/** For `migrate-incoming`: where the state of a VM that was started for it is. */
export function incomingState({ state }: Pick<QemuDialect, 'state'>): { uri: string } {
  return { uri: state === 'file' ? `file:/dev/fdset/${STATE_SET}` : `fd:${STATE_FD}` };
}

/** Id of the GuestRPC port's device: QEMU names it when the guest opens the port. */
export const GUEST_RPC_PORT = 'guestrpc-port';

/**
 * Kernel parameters: quiet and without waits for hardware that no container VM has. `panic=-1` with QEMU's `-no-reboot` ends a
 * VM whose kernel gives up. Mitigations are off: the guest kernel and the container share one trust domain, and the
 * host's own protect the host.
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
    /** Absolute paths of each disk's parents, the nearest first: QEMU joins the hints of a long chain to a path that is too long. */
    parents?: string[][];
    snapshot?: SnapshotUse;
  },
): string[] {
  const { acceleration, dialect, boot, sockets, taps, snapshot } = options;
  const args = [
    ['-name', value(`guest=${vm.name}`)],
    ['-uuid', vm.uuid],
    ['-nodefaults', '-no-user-config', '-no-reboot'],
    ['-display', 'none'],
    ['-sandbox', 'on,obsolete=deny,spawn=deny,resourcecontrol=deny'],
    // Opens taps and disks as root, then drops to a user without rights (which elevateprivileges=deny would forbid);
    // the filter has set no_new_privs by then.
    // One that makes a snapshot runs nobody's code.
    ...(snapshot?.use === 'make'
      ? []
      : [userOption(dialect, `${snapshot?.use === 'spare' ? spareUid(vm.moid) : qemuUid(vm.moid)}:${QEMU_GID}`)]),
    ['-machine', `pc,usb=off,hpet=off,vmport=off${snapshot === undefined ? '' : ',memory-backend=ram'}`],
    ...memoryArguments(vm.memoryMiB, snapshot),
    acceleration === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : // With ERMS the guest copies with `rep movsb`, which the emulator carries out byte by byte.
        ['-accel', 'tcg,thread=multi,tb-size=32', '-cpu', 'max,-erms'],
    ['-smp', String(vm.cpus)],
    ['-m', `${vm.memoryMiB}M`],
    // What is resumed has its kernel in memory.
    ...(isResumed(snapshot) ? [] : bootArguments(boot, acceleration, snapshot?.use === 'make')),
    ...(isResumed(snapshot) && dialect.state === 'file' ? [['-add-fd', `fd=${STATE_FD},set=${STATE_SET}`]] : []),
    ...monitorArguments('qmp', sockets.qmp, dialect),
    ...(sockets.handOver === undefined ? [] : monitorArguments('handover', sockets.handOver, dialect)),
    ['-device', 'virtio-balloon-pci,free-page-reporting=on'],
    ['-device', 'virtio-serial-pci,id=ports,max_ports=16'],
  ];
  for (const { index, backing } of vm.serials) {
    const id = `serial${index}`;
    args.push([
      '-chardev',
      snapshot?.use === 'spare' ? spareBacking(id, backing) : serialBacking(id, backing, dialect),
    ]);
    args.push(['-device', `virtserialport,bus=ports.0,chardev=${id},name=${id}`]);
  }
  // The last port: a guest that finds it finds the others.
  args.push(['-chardev', `socket,id=guestrpc,path=${value(sockets.guestRpc)},server=on,wait=off`]);
  args.push(['-device', `virtserialport,bus=ports.0,chardev=guestrpc,name=guestrpc,id=${GUEST_RPC_PORT}`]);
  // QEMU saves no VM with VMDKs; what the placeholder of a disk is made of is not part of the state.
  const format = snapshot?.use === 'make' || snapshot?.use === 'spare' ? 'raw' : 'vmdk';
  let further = -1;
  for (const [index, disk] of vm.disks.entries()) {
    const id = `disk${disk.bus}-${disk.unit}`;
    const opened = isResumed(snapshot) ? snapshot.disks[index] : undefined;
    const parents = options.parents?.[index] ?? [];
    args.push(...parents.map((path, depth) => parentArguments(id, depth, path, parents.length)).reverse());
    const drive = [
      `if=none,id=${id},format=${format},cache=writeback`,
      opened === undefined ? `file=${value(disk.path)}` : `file.driver=file,file.filename=/dev/fdset/${index}`,
      ...(parents.length > 0 ? [`backing=${parentNode(id, 0)}`] : []),
      ...(disk.readOnly ? ['readonly=on'] : []),
    ];
    for (const fd of [opened?.readFd ?? -1, opened?.writeFd ?? -1])
      if (fd >= 0) args.push(['-add-fd', `fd=${fd},set=${index}`]);
    args.push(['-drive', drive.join(',')]);
    if (disk.bus > 0) further++;
    const device = `virtio-blk-pci,id=${id}-device,drive=${id},serial=scsi${disk.bus}:${disk.unit}`;
    args.push(['-device', `${device}${disk.bus > 0 ? furtherAddress(further) : ''}`]);
  }
  for (const { index, mac, tap } of taps) {
    args.push(['-netdev', `tap,id=net${index},ifname=${tap},script=no,downscript=no`]);
    args.push(['-device', `virtio-net-pci,netdev=net${index},mac=${mac},romfile=`]);
  }
  return args.flat();
}

/** PCI slots for the disks of further SCSI controllers, 45 at most: from this one up to the last, 0x1f. */
const FURTHER_SLOT = 0x1a;
const FUNCTIONS = 8;

/**
 * Where on the PCI bus a disk is: those of the first controller have a slot each, as they come. A machine has not enough of them for
 * the others, which are functions of common slots; `index` counts them.
 */
function furtherAddress(index: number): string {
  const slot = FURTHER_SLOT + Math.floor(index / FUNCTIONS);
  return `,num-queues=1,ioeventfd=off,disable-legacy=on,multifunction=on,addr=0x${slot.toString(16)}.${index % FUNCTIONS}`;
}

const parentNode = (disk: string, depth: number): string => `${disk}-parent${depth}`;

/** A parent of a disk, which is opened but once. */
function parentArguments(disk: string, depth: number, filename: string, count: number): string[] {
  const node = {
    driver: 'vmdk',
    'node-name': parentNode(disk, depth),
    'read-only': true,
    file: { driver: 'file', filename, 'read-only': true },
    backing: depth + 1 < count ? parentNode(disk, depth + 1) : null,
  };
  return ['-blockdev', JSON.stringify(node)];
}

function isResumed(snapshot: SnapshotUse | undefined): snapshot is Extract<SnapshotUse, { disks: OpenDisk[] }> {
  return snapshot !== undefined && snapshot.use !== 'make';
}

function monitorArguments(id: string, path: string, { monitor }: QemuDialect): string[][] {
  return [
    ['-chardev', `socket,id=${id},path=${value(path)},server=on,wait=off`],
    monitor === 'mon'
      ? ['-mon', `chardev=${id},mode=control`]
      : ['-object', `monitor-qmp,id=${id}-monitor,chardev=${id}`],
  ];
}

function userOption(dialect: QemuDialect, user: string): string[] {
  return dialect.user === 'runas' ? ['-runas', user] : ['-run-with', `user=${user}`];
}

/** A socket is connected to again a second after it was closed: the parameter, as this QEMU has it. */
export function reconnectParameter({ reconnect }: Pick<QemuDialect, 'reconnect'>): Record<string, number> {
  return { [reconnect]: reconnect === 'reconnect' ? 1 : 1000 };
}

function serialBacking(id: string, backing: RuntimeSerial['backing'], dialect: QemuDialect): string {
  const again = Object.entries(reconnectParameter(dialect)).map(([name, time]) => `${name}=${time}`);
  return backing.kind === 'file'
    ? `file,id=${id},path=${value(backing.path)},append=on`
    : `socket,id=${id},path=${value(backing.path)},server=off,${again.join(',')}`;
}

/** What looks to the guest as the other does in a snapshot: a file is always there, a socket's listener is not. */
function spareBacking(id: string, backing: RuntimeSerial['backing']): string {
  return backing.kind === 'file' ? `file,id=${id},path=/dev/null,append=on` : `null,id=${id}`;
}

function bootArguments(boot: BootImage, acceleration: Acceleration, rehearse: boolean): string[][] {
  // An emulated guest that measures its counter on a busy machine may be wrong several times over, and then so is its clock.
  const tsc = acceleration === 'tcg' ? hostTscKhz() : null;
  const more = [...(tsc === null ? [] : [`tsc_early_khz=${tsc}`]), ...(rehearse ? ['caisson.rehearse=1'] : [])];
  return [
    ['-kernel', boot.kernel],
    ['-initrd', boot.initramfs],
    ['-append', [...KERNEL_PARAMETERS, ...more].join(' ')],
  ];
}

/**
 * A snapshot's memory is a file that the VM it is made of shares and that others map copy-on-write; only the rest goes into its
 * state (see {@link MIGRATION_CAPABILITIES}). Those must run under the filter of `memory-filter.ts`.
 */
function memoryArguments(memoryMiB: number, snapshot: SnapshotUse | undefined): string[][] {
  if (snapshot === undefined) return [];
  const share = snapshot.use === 'make' ? 'on' : 'off';
  return [
    ['-object', `memory-backend-file,id=ram,size=${memoryMiB}M,mem-path=${value(snapshot.memory)},share=${share}`],
    ...(snapshot.use === 'make' ? [] : [['-incoming', 'defer']]),
  ];
}
