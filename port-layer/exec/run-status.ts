/** What the guest reports of its run, as it stands in `guestinfo.caisson.run.status` (see ARCHITECTURE.md). */

export const STATUS_KEY = 'guestinfo.caisson.run.status';

/** A parsed status. */
export type RunStatus =
  | { kind: 'none' }
  | { kind: 'started'; at: Date; pid: number }
  | { kind: 'failed'; code: number; message: string }
  | { kind: 'exited'; code: number; oomKilled: boolean; at: Date };

/** Parses; anything else than the known forms is `none`. */
export function parseRunStatus(text: string | undefined): RunStatus {
  const [kind, ...rest] = (text ?? '').split(' ');
  const time = (ns: string | undefined): Date =>
    new Date(Number(BigInt(/^\d{1,20}$/.test(ns ?? '') ? ns! : '0') / 1_000_000n));
  switch (kind) {
    case 'started':
      return { kind, at: time(rest[0]), pid: Number(rest[1] ?? 0) || 0 };
    case 'failed':
      return { kind, code: Number(rest[0]) || 128, message: rest.slice(1).join(' ') };
    case 'exited':
      return { kind, code: Number(rest[0]) || 0, oomKilled: rest[2] === '1', at: time(rest[3]) };
    default:
      return { kind: 'none' };
  }
}
