import { describe, expect, it } from 'vitest';
import { isKind } from '../../../src/common/errors.js';
import { admit, machineMemory } from '../../../src/hostd/admission.js';

const machine = { totalMiB: 8192, availableMiB: 4096 };
const vm = { name: 'web', cpus: 2, memoryMiB: 2048 };

describe('admission', () => {
  it.each([
    ['what fits', vm, 0, machine],
    ['more memory than is free: it is backed only where touched', { ...vm, memoryMiB: 8192 }, 0, machine],
    ['a last one', vm, 0, { ...machine, availableMiB: 800 }],
  ])('lets %s in', (_name, one, startingMiB, memory) => {
    expect(() => admit(one, startingMiB, memory, 2)).not.toThrow();
  });

  it.each([
    ['memory beyond the machine', { ...vm, memoryMiB: 8193 }, 0, machine, /8193 MiB.*8192 MiB.*docker run -m/],
    ['CPUs beyond reason', { ...vm, cpus: 17 }, 0, machine, /17 CPUs.*at most 16.*docker run --cpus/],
    [
      'a VM when too little is free',
      vm,
      0,
      { ...machine, availableMiB: 600 },
      /600 MiB are free.*Stop some containers/,
    ],
    ['one too many at once', vm, 3500, machine, /4096 MiB are free/],
  ])('refuses %s with numbers and advice', (_name, one, startingMiB, memory, message) => {
    const refusal = (): void => admit(one, startingMiB, memory, 2);
    expect(refusal).toThrow(message);
    try {
      refusal();
    } catch (error) {
      expect(isKind(error, 'insufficientResources')).toBe(true);
    }
  });

  it("reads this machine's memory", () => {
    const { totalMiB, availableMiB } = machineMemory();
    expect(totalMiB).toBeGreaterThan(100);
    expect(availableMiB).toBeGreaterThan(0);
    expect(availableMiB).toBeLessThan(totalMiB);
  });
});
