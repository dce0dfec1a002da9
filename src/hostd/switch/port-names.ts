/** The names of the switch's interfaces, by which they are found again after a restart. */
import { createHash } from 'node:crypto';
import type { RuntimeNic } from '../runtime.js';
import type { Port } from './wiring.js';

/** Interface names have at most 15 bytes. */
export function bridgeName(portGroup: string): string {
  return `br${createHash('sha256').update(portGroup).digest('hex').slice(0, 10)}`;
}

/** The switch's interface for a VM's card: `t<number of the VM>n<card>`. */
export function portName(moid: string, index: number | ''): string {
  return `t${moid.replace(/^vm-/, '').slice(0, 10)}n${index}`;
}

export function portsOf(moid: string, nics: readonly RuntimeNic[]): Port[] {
  return nics.filter((nic) => nic.connected).map((nic) => ({ name: portName(moid, nic.index), nic }));
}

/**
 * Adds something. What an earlier hostd left may be in the way, which is rare: only if it does not work is that removed, and it is tried again.
 * @throws what the second try throws, when nothing is left of it
 */
export async function retried(add: () => Promise<void>, remove: () => Promise<void>): Promise<void> {
  try {
    await add();
  } catch {
    await remove();
    try {
      await add();
    } catch (error) {
      await remove();
      throw error;
    }
  }
}
