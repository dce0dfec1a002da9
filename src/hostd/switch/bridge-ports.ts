/**
 * How a bridge treats the ports of cards: it learns nothing from them, knows each card by a static entry, drops frames from other MAC
 * addresses (`locked`), and floods only broadcasts and multicasts.
 *
 * Facts: bridge(8), ip-link(8). `locked` needs Linux 5.18, `fdb_max_learned` Linux 6.7 and iproute2 6.8.
 */
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
