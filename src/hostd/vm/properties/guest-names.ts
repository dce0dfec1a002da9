/** Names that vSphere shows for guest types. */
const GUEST_NAMES: Record<string, string> = {
  otherGuest: 'Other (32-bit)',
  otherGuest64: 'Other (64-bit)',
  otherLinux64Guest: 'Other Linux (64-bit)',
  other3xLinux64Guest: 'Other 3.x Linux (64-bit)',
  other4xLinux64Guest: 'Other 4.x Linux (64-bit)',
  other5xLinux64Guest: 'Other 5.x or later Linux (64-bit)',
};

/** The name of a guest type. */
export function guestName(guestId: string): string {
  return GUEST_NAMES[guestId] ?? guestId;
}
