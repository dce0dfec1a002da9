import { describe, expect, it } from 'vitest';
import { fromGuestOs, toGuestOs } from '../../../src/hostd/vm/guest-os.js';
import { enumValues } from '../../../src/vim25/table.js';

describe('kinds of guests in a .vmx', () => {
  it.each([
    ['otherGuest', 'other'],
    ['otherGuest64', 'other-64'],
    ['other5xLinux64Guest', 'other5xlinux-64'],
    ['rhel7_64Guest', 'rhel7-64'],
    ['something', 'something'],
  ])('%s is %s', (guestId, guestOs) => {
    expect(toGuestOs(guestId)).toBe(guestOs);
    expect(fromGuestOs(guestOs)).toBe(guestId);
    expect(fromGuestOs(guestId)).toBe(guestId);
  });

  it('are all read back unchanged', () => {
    const all = enumValues('VirtualMachineGuestOsIdentifier') ?? [];
    expect(all.length).toBeGreaterThan(100);
    for (const one of all) expect(fromGuestOs(toGuestOs(one))).toBe(one);
  });
});
