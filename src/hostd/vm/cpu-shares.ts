/** A VM's weight against others for the host's processors, as vSphere counts it (SharesInfo): usually 1000 per processor. */
import { setNice } from '../../common/precedence.js';

const LEVELS: Record<string, number> = { low: 500, normal: 1000, high: 2000 };
/** Linux weighs neighbouring nice levels 1.25 to 1 (sched(7)). */
const STEP = 1.25;
/** hostd and the endpoint stay ahead of a VM, however many shares it has. */
const [MOST, LEAST] = [-5, 19];
export const MAX_SHARES = 1_000_000;

/** Shares of a level. @returns null for `normal` and for unknown levels */
export function sharesOf(level: string | undefined, shares: number | undefined, cpus: number): number | null {
  if (level === 'custom') return shares ?? null;
  return level === undefined || level === 'normal' || LEVELS[level] === undefined ? null : LEVELS[level] * cpus;
}

/** As the vim25 API shows them. */
export function sharesInfo(shares: number | null, cpus: number): { level: 'custom' | 'normal'; shares: number } {
  return shares === null ? { level: 'normal', shares: LEVELS.normal! * cpus } : { level: 'custom', shares };
}

/** The nice level that gives a VM its weight. */
export function niceLevel(shares: number, cpus: number): number {
  const level = -Math.round(Math.log(Math.max(shares, 1) / (LEVELS.normal! * cpus)) / Math.log(STEP));
  return Math.min(LEAST, Math.max(MOST, level)) + 0;
}

/** Gives a VM's process its weight; threads that it creates later inherit it. */
export function weigh(pid: number, shares: number, cpus: number): void {
  setNice(pid, niceLevel(shares, cpus));
}
