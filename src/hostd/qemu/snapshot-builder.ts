/**
 * Makes boot snapshots: boots a VM of the wanted shape, with placeholders for whatever differs between VMs, until its tether waits for the
 * host, then saves it. No container's code ever runs in it.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, open, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { internal, messageOf, timeout } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { keepBounded, SPARE_LOG } from '../../common/log-bound.js';
import type { BootImage } from '../../common/paths.js';
import { ended, isRunning, type ProcessIdentity, signal } from '../../common/process-id.js';
import { createFilesystem, VmdkChain } from '../../disk/index.js';
import type { VmDefinition } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { FIRST_FD } from './cage.js';
import type { LaunchQemu } from './caged-qemu.js';
import type { QemuDialect } from './capabilities.js';
import {
  type Acceleration,
  type DiskBacking,
  GUEST_RPC_PORT,
  MIGRATION_CAPABILITIES,
  qemuArguments,
  type VmSockets,
} from './command-line.js';
import type { ControlGroups } from './control-groups.js';
import type { DescriptorSender } from './descriptor-sender.js';
import { Inherited, openRaw, openSerialFiles } from './given-files.js';
import { tellRefused } from './qemu-vm.js';
import { complaints, printedIn } from './qemu-words.js';
import { Qmp } from './qmp.js';

const log = logger('snapshots');
/** A boot takes 1.5 s on an idle machine, but much longer on a busy one, since it runs at the lowest priority. */
const BOOT_MS = 120_000;
/** Within this time the kernel finishes what it does after starting the tether. */
const SETTLE_MS = 300;
const SAVE_MS = 60_000;
const KILL_MS = 5000;
const REHEARSAL_BYTES = 16 * 2 ** 20;
/** Name of the VM that is booted; each host boots one at a time. */
const MAKER = 'vm-snapshot';

/** What VMs that can resume from the same snapshot have in common. */
export interface VmShape {
  cpus: number;
  memoryMiB: number;
  disks: { bus: number; unit: number; readOnly: boolean; capacityBytes: number }[];
  serials: ('file' | 'unixClient')[];
  /** Indexes of connected cards. */
  nics: number[];
}

/** Descriptors of the VM that is booted. */
interface MadeDevices {
  memory: number;
  disks: DiskBacking[];
  serialFiles: Map<number, number>;
}

const sockets = (directory: string): Required<VmSockets> => ({
  qmp: join(directory, 'qmp'),
  guestRpc: join(directory, 'rpc'),
  handOver: join(directory, 'handover'),
});

const NO_DEVICES: MadeDevices = { memory: FIRST_FD, disks: [], serialFiles: new Map() };

/** Boots VMs and saves them. */
export class SnapshotBuilder {
  private process: ProcessIdentity | null = null;

  constructor(
    private readonly boot: BootImage,
    private readonly acceleration: Acceleration,
    private readonly dialect: QemuDialect,
    private readonly virtualSwitch: VirtualSwitch,
    private readonly launch: LaunchQemu,
    private readonly groups: ControlGroups,
    private readonly sender: DescriptorSender,
  ) {}

  /** The command line of the VM that is booted for a shape, in `directory`. Without `devices` it is the same for all VMs of the shape. */
  commandLine(shape: VmShape, directory: string, taps = new Map<number, string>(), devices = NO_DEVICES): string[] {
    return qemuArguments(placeholder(shape, directory), {
      acceleration: this.acceleration,
      dialect: this.dialect,
      boot: this.boot,
      sockets: sockets(directory),
      taps: shape.nics.map((index) => ({ index, mac: placeholderMac(index), tap: taps.get(index) ?? '' })),
      disks: devices.disks,
      serialFiles: devices.serialFiles,
      snapshot: { use: 'make', memory: devices.memory },
    });
  }

  /** Ends the VM that is being booted, so `build` fails. */
  abort(): void {
    if (this.process !== null) signal(this.process, 'SIGKILL');
  }

  /**
   * Puts `memory` and `state` of a booted VM, and `rehearsal`, into `directory`.
   * @param portGroup for its cards, which stay down
   * @throws internal, timeout; nothing of the VM is left then
   */
  async build(shape: VmShape, portGroup: string | null, directory: string): Promise<void> {
    const work = join(directory, 'work');
    await mkdir(work);
    const logFile = join(work, 'qemu.log');
    const vm = placeholder(shape, work);
    for (const [index, disk] of vm.disks.entries()) await makeDisk(disk.path, shape.disks[index]!.capacityBytes);
    const nics = shape.nics.map((index) => ({
      index,
      mac: placeholderMac(index),
      portGroup: portGroup ?? '',
      connected: true,
    }));
    const taps = await this.virtualSwitch.plug(MAKER, nics);
    let running: ProcessIdentity | null = null;
    const inherited = new Inherited();
    const bound = keepBounded(logFile, SPARE_LOG, (error) =>
      log.warn({ err: messageOf(error), path: logFile }, 'the log of a VM for a boot snapshot cannot be kept small'),
    );
    try {
      const memoryFile = await open(join(directory, 'memory'), 'wx+', 0o600);
      const memory = inherited.give(memoryFile);
      await memoryFile.truncate(shape.memoryMiB * 2 ** 20);
      const disks: DiskBacking[] = [];
      for (const { path, readOnly } of vm.disks) disks.push(await openRaw(path, readOnly, inherited));
      const serialFiles = await openSerialFiles(vm, inherited, '/dev/null');
      const process = await this.launch({
        vm,
        use: 'make',
        args: this.commandLine(shape, work, taps, { memory, disks, serialFiles }),
        sockets: sockets(work),
        taps: [...taps.values()].map((tap) => ({ tap })),
        logFile,
        inherited: inherited.handles,
      });
      running = process;
      this.process = process;
      setPriority(process.pid, constants.priority.PRIORITY_LOW);
      const qmp = await Qmp.connect(join(work, 'qmp'), () => isRunning(process), BOOT_MS);
      try {
        await process.enclose();
        await booted(qmp);
        await sleep(SETTLE_MS);
        const send = (to: string): Promise<void> => this.sender.save(sockets(work).handOver, to);
        await save(qmp, send, join(work, 'state.sock'), join(directory, 'state'));
        await qmp.command('quit').catch(() => undefined);
      } finally {
        qmp.release();
      }
      if (!(await ended(process, KILL_MS))) throw internal('QEMU does not end');
      await tellRefused(logFile);
      await makeDisk(join(directory, 'rehearsal'), REHEARSAL_BYTES);
    } catch (error) {
      const words = complaints(await printedIn(logFile))
        .join('; ')
        .slice(-500);
      throw internal(`${messageOf(error)}${words === '' ? '' : `: ${words}`}`, error);
    } finally {
      bound.stop();
      await inherited.close();
      this.process = null;
      if (running !== null && isRunning(running)) {
        signal(running, 'SIGKILL');
        await ended(running, KILL_MS);
      }
      await this.virtualSwitch.unplugStale(MAKER);
      await this.groups.remove(MAKER);
      await rm(work, { recursive: true, force: true });
    }
  }
}

/** Resolves when the guest opens its GuestRPC port: the last thing it does before it waits. */
function booted(qmp: Qmp): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(timeout('the VM for a boot snapshot does not boot in time')), BOOT_MS);
    qmp.on('event', (name, data) => {
      if (name === 'VSERPORT_CHANGE' && data.id === GUEST_RPC_PORT && data.open === true) {
        clearTimeout(timer);
        resolve();
      }
    });
    qmp.once('close', () => {
      clearTimeout(timer);
      reject(internal('the VM for a boot snapshot ended'));
    });
  });
}

/**
 * Has the devices' state written to a file. The VM runs until QEMU stops it for that, so that resumed VMs run at once. QEMU can no longer
 * open paths, so it sends the state over a socket that hostd connects for it.
 */
async function save(qmp: Qmp, send: (to: string) => Promise<void>, socketPath: string, file: string): Promise<void> {
  const server = createServer();
  try {
    const saved = new Promise<void>((resolve, reject) => {
      server.once('connection', (socket) => {
        pipeline(socket, createWriteStream(file, { mode: 0o600 })).then(resolve, reject);
      });
    });
    saved.catch(() => undefined);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
    await qmp.command('migrate-set-capabilities', MIGRATION_CAPABILITIES);
    await send(socketPath);
    for (const deadline = Date.now() + SAVE_MS; ; await sleep(10)) {
      const { status } = (await qmp.command('query-migrate')) as { status?: string };
      if (status === 'completed') break;
      if (status === 'failed' || status === 'cancelled') throw internal('QEMU could not save its state');
      if (Date.now() > deadline) throw timeout('QEMU does not save its state in time');
    }
    await saved;
  } finally {
    server.close();
  }
}

/** Makes a disk with a small filesystem, for the kernel to mount once. */
async function makeDisk(path: string, bytes: number): Promise<void> {
  const vmdk = `${path}.vmdk`;
  await createFilesystem({ outPath: vmdk, capacity: REHEARSAL_BYTES, seed: 'rehearsal', label: 'rehearsal' });
  const chain = await VmdkChain.open(vmdk);
  try {
    await writeFile(path, await chain.read(0, REHEARSAL_BYTES));
    await truncate(path, bytes);
  } finally {
    await chain.close();
    await rm(vmdk);
  }
}

/** A VM of that shape that belongs to nobody, with its files in `directory`. */
export function placeholder(shape: VmShape, directory: string): VmDefinition {
  return {
    moid: MAKER,
    uuid: '00000000-0000-0000-0000-000000000000',
    name: 'snapshot',
    directory,
    cpus: shape.cpus,
    memoryMiB: shape.memoryMiB,
    disks: shape.disks.map(({ bus, unit, readOnly }) => ({
      bus,
      unit,
      readOnly,
      path: join(directory, `disk${bus}-${unit}`),
    })),
    nics: [],
    serials: shape.serials.map((kind, index) => ({
      index,
      backing: { kind, path: join(directory, `serial${index}`) },
    })),
    extraConfig: new Map(),
  };
}

/** The cards of a snapshot have these addresses until the guest is told its own. */
export function placeholderMac(index: number): string {
  return `00:50:56:00:00:${index.toString(16).padStart(2, '0')}`;
}
