/**
 * Guest types as a .vmx names them: the API's `other5xLinux64Guest` is `other5xlinux-64` there. Readers recognise 64-bit guests by the
 * suffix.
 */
import { enumValues } from '../../vim25/server.js';

const name = (guestId: string): string =>
  guestId
    .replace(/_?64Guest$|Guest64$/, '-64')
    .replace(/Guest$/, '')
    .toLowerCase();

const byName = new Map<string, string | null>();
// A name that two types would share is used for neither.
for (const one of enumValues('VirtualMachineGuestOsIdentifier') ?? [])
  byName.set(name(one), byName.has(name(one)) ? null : one);

/** `guestOS` of a .vmx; an unknown type stays as it is. */
export function toGuestOs(guestId: string): string {
  return byName.get(name(guestId)) === guestId ? name(guestId) : guestId;
}

/** The API's name. Other names stay as they are (files written by earlier versions have the API's). */
export function fromGuestOs(guestOs: string): string {
  return byName.get(guestOs) ?? guestOs;
}
