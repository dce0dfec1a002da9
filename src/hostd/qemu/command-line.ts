/** QEMU's command line for a VM: pure. */
import type { BootImage } from '../../common/paths.js';
import type { VmDefinition } from '../runtime.js';

export type Acceleration = 'kvm' | 'tcg';

/** Group that QEMU processes run as, so that they may connect to channel sockets; needs no entry in /etc/group. */
export const QEMU_GID = 64100;
/** First of the users of QEMU processes, and how many there are; none needs an entry in /etc/passwd. */
const FIRST_UID = 64101;
const UIDS = 1000;

/** The user of a VM's QEMU: another one for each VM (of any thousand in a row), so that one that was taken over cannot harm the others. */
export function qemuUid(moid: string): number {
  return FIRST_UID + (Number(/(\d+)$/.exec(moid)?.[1] ?? 0) % UIDS);
}

/** Where the VM's sockets are. */
export interface VmSockets {
  qmp: string;
  guestRpc: string;
}

/** A tap that is ready, for the card of that index. */
export interface VmTap {
  index: number;
  mac: string;
  tap: string;
}

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
  options: { acceleration: Acceleration; boot: BootImage; sockets: VmSockets; taps: VmTap[] },
): string[] {
  const { acceleration, boot, sockets, taps } = options;
  const args = [
    ['-name', value(`guest=${vm.name}`)],
    ['-uuid', vm.uuid],
    ['-nodefaults', '-no-user-config', '-no-reboot'],
    ['-display', 'none'],
    ['-sandbox', 'on,obsolete=deny,spawn=deny,resourcecontrol=deny'],
    // Opens taps and disks as root, then drops to a user without rights (which elevateprivileges=deny would forbid);
    // the filter has set no_new_privs by then.
    ['-runas', `${qemuUid(vm.moid)}:${QEMU_GID}`],
    ['-machine', 'pc,usb=off,hpet=off,vmport=off'],
    acceleration === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', 'tcg,thread=multi,tb-size=64', '-cpu', 'max'],
    ['-smp', String(vm.cpus)],
    ['-m', `${vm.memoryMiB}M`],
    ['-kernel', boot.kernel],
    ['-initrd', boot.initramfs],
    ['-append', KERNEL_PARAMETERS.join(' ')],
    ['-chardev', `socket,id=qmp,path=${value(sockets.qmp)},server=on,wait=off`],
    ['-mon', 'chardev=qmp,mode=control'],
    ['-device', 'virtio-balloon-pci,free-page-reporting=on'],
    ['-device', 'virtio-serial-pci,id=ports,max_ports=16'],
    ['-chardev', `socket,id=guestrpc,path=${value(sockets.guestRpc)},server=on,wait=off`],
    ['-device', 'virtserialport,bus=ports.0,chardev=guestrpc,name=guestrpc'],
  ];
  for (const { index, backing } of vm.serials) {
    const id = `serial${index}`;
    args.push([
      '-chardev',
      backing.kind === 'file'
        ? `file,id=${id},path=${value(backing.path)},append=on`
        : `socket,id=${id},path=${value(backing.path)},server=off,reconnect=1`,
    ]);
    args.push(['-device', `virtserialport,bus=ports.0,chardev=${id},name=${id}`]);
  }
  for (const disk of vm.disks) {
    const id = `disk${disk.bus}-${disk.unit}`;
    args.push([
      '-drive',
      `if=none,id=${id},format=vmdk,file=${value(disk.path)},cache=writeback${disk.readOnly ? ',readonly=on' : ''}`,
    ]);
    args.push(['-device', `virtio-blk-pci,drive=${id},serial=scsi${disk.bus}:${disk.unit}`]);
  }
  for (const { index, mac, tap } of taps) {
    args.push(['-netdev', `tap,id=net${index},ifname=${tap},script=no,downscript=no`]);
    args.push(['-device', `virtio-net-pci,netdev=net${index},mac=${mac},romfile=`]);
  }
  return args.flat();
}
