/** What the port layer keeps with a VM of its current or last run (key `caisson.run`), so that a restarted endpoint finds it. */
import type { NetworkEndpoint } from '../network/types.js';

export const RUN_KEY = 'caisson.run';

/** One run. */
export interface RunRecord {
  /** ISO 8601. */
  startedAt: string;
  endpoints: NetworkEndpoint[];
  /** It is paused, and its processes are frozen. */
  frozen?: boolean;
  /** How it ended, where the guest could not say it: its VM was killed. */
  killed?: { at: string; exitCode: number };
}

/** Reads a record; null for a VM that never ran, and for what is none. */
export function parseRunRecord(text: string | undefined): RunRecord | null {
  if (text === undefined || text === '') return null;
  try {
    const record = JSON.parse(text) as RunRecord | null;
    if (typeof record?.startedAt !== 'string' || !Array.isArray(record.endpoints)) return null;
    return record;
  } catch {
    return null;
  }
}
