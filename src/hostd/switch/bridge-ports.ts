/**
 * How a bridge treats the ports of cards: it learns nothing from them, knows each card by a static entry, drops frames from other MAC
 * addresses (`locked`), and floods only broadcasts and multicasts.
 *
 * Facts: bridge(8), ip-link(8). `locked` needs Linux 5.18, `fdb_max_learned` Linux 6.7 and iproute2 6.8.
 */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { z } from 'zod';
import { writeWhole } from '../../common/write-whole.js';
import { ipBatch, ipTry } from './ip.js';
import type { PortTreatment } from './link-messages.js';
import type { BridgeSettings } from './new-links.js';
import type { SecurityPolicy } from './security-policy.js';

/** How many entries the bridge of a learning port group may learn. */
const MAX_LEARNED = 4096;
const PROBE = 'brprobe';
const PROBE_PORT = 'tprobe';

/** What this kernel and its `ip` support. */
export interface BridgeFeatures {
  locked: boolean;
  maxLearned: boolean;
}

/** Finds this out on a bridge made for the purpose, which is removed again. */
export async function bridgeFeatures(namespace: string): Promise<BridgeFeatures> {
  const works = (command: string): Promise<boolean> =>
    ipBatch(namespace, [command]).then(
      () => true,
      () => false,
    );
  const remove = (): Promise<void> => ipTry(namespace, [`link delete ${PROBE_PORT}`, `link delete ${PROBE}`]);
  await remove();
  try {
    await ipBatch(namespace, [
      `link add ${PROBE} type bridge`,
      `tuntap add dev ${PROBE_PORT} mode tap`,
      `link set ${PROBE_PORT} master ${PROBE}`,
    ]);
    return {
      locked: await works(`link set ${PROBE_PORT} type bridge_slave locked on`),
      maxLearned: await works(`link set ${PROBE} type bridge fdb_max_learned ${MAX_LEARNED}`),
    };
  } finally {
    await remove();
  }
}

const keptFile = z.object({ kernel: z.string(), locked: z.boolean(), maxLearned: z.boolean() });

/**
 * The same, but this kernel is not asked again, which takes six processes. A hostd that ends in order removes the file.
 * @param file where the answer is kept; null: nowhere
 */
export async function keptBridgeFeatures(
  file: string | null,
  namespace: string,
  ask = bridgeFeatures,
): Promise<BridgeFeatures> {
  const kernel = release();
  const text = file === null ? null : await readFile(file, 'utf8').catch(() => null);
  const kept = text === null ? null : parsed(text);
  if (kept?.kernel === kernel) return { locked: kept.locked, maxLearned: kept.maxLearned };
  const features = await ask(namespace);
  // Where it cannot be kept, it is asked at each start.
  if (file !== null) await writeWhole(file, JSON.stringify({ kernel, ...features })).catch(() => undefined);
  return features;
}

/** Null if it is damaged. */
function parsed(text: string): z.infer<typeof keptFile> | null {
  try {
    return keptFile.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** How a bridge is to work. */
export const bridgeSettings = ({ maxLearned }: BridgeFeatures): BridgeSettings => ({
  maxLearned: maxLearned ? MAX_LEARNED : null,
});

/** True when the bridge learns from the cards of such a port group. */
export const learns = ({ macChanges, forgedTransmits }: SecurityPolicy): boolean => macChanges && forgedTransmits;

/** How a bridge is to treat the ports of such a port group. @param isolated nothing passes between isolated ports */
export function treatment(policy: SecurityPolicy, { locked }: BridgeFeatures, isolated = false): PortTreatment {
  const learning = learns(policy);
  return { learning, flood: learning, isolated, locked: locked ? !policy.forgedTransmits : undefined };
}
