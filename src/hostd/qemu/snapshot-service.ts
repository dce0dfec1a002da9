/** Decides which VMs resume instead of booting, and has snapshots made for those that cannot resume yet. */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { Rounds } from '../../common/rounds.js';
import type { OpenDisk } from '../disks/open-disks.js';
import type { VmDefinition } from '../runtime.js';
import type { BootSnapshot, BootSnapshots } from './boot-snapshots.js';
import type { SnapshotBuilder, VmShape } from './snapshot-builder.js';

const log = logger('snapshots');
/** How often making a snapshot is tried, so that a machine on which it fails does not try for ever. */
const ATTEMPTS = 2;
/** After this many failures in a row to resume from good snapshots, VMs are booted on this machine. */
const MAX_FAILED = 3;
/** How many snapshots may wait to be made; any further one is asked for again with the next VM of its shape. */
const MAX_WAITING = 8;

/** See the file's head. */
export class SnapshotService {
  private readonly failures = new Map<string, number>();
  /** By key, how many VMs in a row did not resume although the snapshot was not to blame. */
  private readonly failedStarts = new Map<string, number>();
  private readonly waiting = new Map<string, () => Promise<void>>();
  private readonly rounds = new Rounds(() => this.work());
  private closed = false;

  constructor(
    private readonly snapshots: BootSnapshots,
    private readonly builder: SnapshotBuilder,
    /** Called when a snapshot was made. */
    private readonly made: () => void,
  ) {}

  /** A VM's shape and the key of its snapshots. */
  shapeOf(vm: VmDefinition, disks: readonly Pick<OpenDisk, 'capacityBytes'>[]): { key: string; shape: VmShape } {
    const shape = shapeOf(vm, disks);
    return { key: this.keyOf(shape), shape };
  }

  /** The key of snapshots of a shape. */
  keyOf(shape: VmShape): string {
    // The command line does not contain the disks' sizes, but a booted guest knows them.
    const capacities = shape.disks.map(({ capacityBytes }) => String(capacityBytes));
    return this.snapshots.keyOf([...this.builder.commandLine(shape, '/'), ...capacities]);
  }

  /** The snapshot that a VM can resume from. If there is none, one is made in the background for the next VM of this shape. */
  async find(vm: VmDefinition, key: string, shape: VmShape): Promise<BootSnapshot | null> {
    if ((this.failedStarts.get(key) ?? 0) >= MAX_FAILED) return null;
    const snapshot = await this.snapshots.find(key);
    if (snapshot === null) this.wish(key, shape, vm.nics.find((nic) => nic.connected)?.portGroup ?? null);
    return snapshot;
  }

  /** The snapshot of a key, if there is one; none is made. */
  have(key: string): Promise<BootSnapshot | null> {
    return this.snapshots.find(key);
  }

  /** Notes that a VM did not come to life, though not because of the snapshot, which stays. */
  failed({ key }: BootSnapshot): void {
    const failed = (this.failedStarts.get(key) ?? 0) + 1;
    this.failedStarts.set(key, failed);
    if (failed === MAX_FAILED) log.warn({ snapshot: key }, 'VMs do not resume from this boot snapshot and are booted');
  }

  /** Notes that a VM came to life from it. */
  succeeded({ key }: BootSnapshot): void {
    this.failedStarts.delete(key);
  }

  /** Discards a snapshot from which a VM did not come to life, and from which no other VM would. */
  async discard(snapshot: BootSnapshot): Promise<void> {
    this.failures.set(snapshot.key, (this.failures.get(snapshot.key) ?? 0) + 1);
    await this.snapshots.discard(snapshot);
  }

  /** Ends the snapshot that is being made. */
  async close(): Promise<void> {
    this.closed = true;
    this.waiting.clear();
    this.builder.abort();
    await this.rounds.idle();
    await this.snapshots.close();
  }

  private wish(key: string, shape: VmShape, portGroup: string | null): void {
    if (this.closed || this.waiting.size >= MAX_WAITING || (this.failures.get(key) ?? 0) >= ATTEMPTS) return;
    if (this.waiting.has(key)) return;
    this.waiting.set(key, async () => {
      const began = performance.now();
      await this.snapshots.add(key, (directory) => this.builder.build(shape, portGroup, directory));
      log.info({ shape, ms: Math.round(performance.now() - began) }, 'a boot snapshot was made');
    });
    void this.rounds.ask();
  }

  private async work(): Promise<void> {
    for (let next = this.waiting.entries().next(); !next.done; next = this.waiting.entries().next()) {
      const [key, make] = next.value;
      try {
        await make();
        if (!this.closed) this.made();
      } catch (error) {
        if (!this.closed) {
          this.failures.set(key, (this.failures.get(key) ?? 0) + 1);
          log.warn({ err: messageOf(error) }, 'a boot snapshot could not be made; VMs of this shape are booted');
        }
      }
      this.waiting.delete(key);
    }
  }
}

function shapeOf(vm: VmDefinition, disks: readonly Pick<OpenDisk, 'capacityBytes'>[]): VmShape {
  return {
    cpus: vm.cpus,
    memoryMiB: vm.memoryMiB,
    disks: vm.disks.map(({ bus, unit, readOnly }, index) => ({
      bus,
      unit,
      readOnly,
      capacityBytes: disks[index]!.capacityBytes,
    })),
    serials: vm.serials.map(({ backing }) => backing.kind),
    nics: vm.nics.filter((nic) => nic.connected).map((nic) => nic.index),
  };
}
