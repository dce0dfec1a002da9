/** The rate of the machine's time stamp counter, by which an emulated guest measures time. */
import { readFileSync } from 'node:fs';

let known: number | null | undefined;

/**
 * In kHz, as the machine's own kernel measured it (within 1 MHz); null if it does not say. In a VM, `/proc/cpuinfo` shows the rate of the
 * counter; on hardware it shows a clock that changes.
 */
export function hostTscKhz(): number | null {
  known ??= parseTscKhz(readFileSync('/proc/cpuinfo', 'utf8'));
  return known;
}

/** The same, from the text of `/proc/cpuinfo`. */
export function parseTscKhz(cpuinfo: string): number | null {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? [];
  const mhz = Number(/^cpu MHz\s*:\s*([\d.]+)$/m.exec(cpuinfo)?.[1] ?? Number.NaN);
  return flags.includes('hypervisor') && flags.includes('constant_tsc') && mhz > 0 ? Math.round(mhz) * 1000 : null;
}
