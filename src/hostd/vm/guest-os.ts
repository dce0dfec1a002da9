/** Kinds of guests as a .vmx names them: `other5xLinux64Guest` of the API is `other5xlinux-64` there. Readers see the bits by the end. */
import { enumValues } from '../../vim25/server.js';

const name = (guestId: string): string =>
  guestId
    .replace(/_?64Guest$|Guest64$/, '-64')
    .replace(/Guest$/, '')
    .toLowerCase();

const byName = new Map<string, string | null>();
// What two kinds would share is no name of either.
for (const one of enumValues('VirtualMachineGuestOsIdentifier') ?? [])
  byName.set(name(one), byName.has(name(one)) ? null : one);

/** `guestOS` of a .vmx; an unknown kind stays as it is. */
export function toGuestOs(guestId: string): string {
  return byName.get(name(guestId)) === guestId ? name(guestId) : guestId;
}

/** The API's name; one that is none of a .vmx stays as it is (files that were written here earlier have the API's). */
export function fromGuestOs(guestOs: string): string {
  return byName.get(guestOs) ?? guestOs;
}
