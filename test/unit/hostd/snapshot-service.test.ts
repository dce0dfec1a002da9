import { describe, expect, it } from 'vitest';
import { BootSnapshots } from '../../../src/hostd/qemu/boot-snapshots.js';
import type { SnapshotBuilder, VmShape } from '../../../src/hostd/qemu/snapshot-builder.js';
import { SnapshotService } from '../../../src/hostd/qemu/snapshot-service.js';

const shape = (...capacities: number[]): VmShape => ({
  cpus: 2,
  memoryMiB: 2048,
  disks: capacities.map((capacityBytes, unit) => ({ bus: 0, unit, readOnly: false, capacityBytes })),
  serials: ['file'],
  nics: [0],
});

describe('the key of a boot snapshot', () => {
  it('distinguishes disks of different capacities, which the command line does not', () => {
    const builder = { commandLine: () => ['qemu'] } as unknown as SnapshotBuilder;
    const service = new SnapshotService(new BootSnapshots('/nowhere', 'host'), builder, () => undefined);
    const keys = [shape(2 ** 35), shape(2 ** 35, 2 ** 34), shape(2 ** 35, 2 ** 26)].map((one) => service.keyOf(one));
    expect(new Set(keys).size).toBe(3);
    expect(service.keyOf(shape(2 ** 35, 2 ** 26))).toBe(keys[2]);
  });
});
