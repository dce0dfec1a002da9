/** The rate of the machine's time stamp counter, which an emulated guest counts its time by. */
import { readFileSync } from 'node:fs';

let known: number | null | undefined;

/**
 * In kHz, as the machine's own kernel measured it (within 1 MHz); null when it does not tell. A kernel that runs in a VM itself names
 * in `/proc/cpuinfo` the rate of its counter; on hardware, that is a clock which changes.
 */
export function hostTscKhz(): number | null {
  known ??= parseTscKhz(readFileSync('/proc/cpuinfo', 'utf8'));
  return known;
}

/** The same from the text of `/proc/cpuinfo`. */
export function parseTscKhz(cpuinfo: string): number | null {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? [];
  const mhz = Number(/^cpu MHz\s*:\s*([\d.]+)$/m.exec(cpuinfo)?.[1] ?? Number.NaN);
  return flags.includes('hypervisor') && flags.includes('constant_tsc') && mhz > 0 ? Math.round(mhz) * 1000 : null;
}
