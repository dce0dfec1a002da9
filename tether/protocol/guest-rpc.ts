/**
 * GuestRPC as the tether uses it: requests `info-get KEY` and `info-set KEY VALUE` to the host (`tether/guest/rpc.c`), and the keys. The
 * embedded host imports nothing from here and defines what it needs in `src/hostd`; a unit test compares the two.
 */

/** The longest reply or command that a guest accepts. */
export const MAX_RPC_FRAME = 8 << 20;
/** The longest request that a guest makes. */
export const MAX_RPC_REQUEST = 1024;

export const GuestInfo = {
  /** Read: the compiled program, in base64. */
  program: 'guestinfo.caisson.program',
  /** Read: `<unix ns> <base64>`, the time and fresh entropy; or what a spare VM is to do instead. */
  seed: 'guestinfo.caisson.seed',
  /** Written: `started …`, `failed …` or `exited …`. */
  status: 'guestinfo.caisson.run.status',
  /** Written: `MAC=address/prefix` of each card, separated by commas. */
  addresses: 'guestinfo.caisson.run.addresses',
  /** Written by a guest with cards that get their addresses by DHCP: `MAC=address/prefix,router` of each, separated by semicolons. */
  leases: 'guestinfo.caisson.run.leases',
  /** Written, when the host asks for it: how long each part of the start took. */
  timeline: 'guestinfo.caisson.run.timeline',
  /** Written: the first address, without prefix. */
  ip: 'guestinfo.ip',
} as const;
