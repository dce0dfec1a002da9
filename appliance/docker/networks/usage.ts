/** What the gateway has carried for each container: the way out and published ports, not what containers send to each other. */
import type { ExecService, NetworkInfo } from '../../../port-layer/index.js';
import { bitRateText } from '../../../src/common/bit-rate.js';
import type { UsageRow } from '../../../src/common/usage-row.js';
import type { Gateway } from '../../gateway/index.js';
import { addressRates, networkRate } from './egress-rate.js';

export interface UsageParts {
  exec: Pick<ExecService, 'list'>;
  gateway: Pick<Gateway, 'counters'>;
  networks(): readonly Pick<NetworkInfo, 'id' | 'options' | 'kind'>[];
  /** The virtual container host's, in bits a second. */
  ownRate: number | undefined;
}

/** @throws unavailable while the relay is started again */
export async function networkUsage({ exec, gateway, networks, ownRate }: UsageParts): Promise<UsageRow[]> {
  const counted = new Map((await gateway.counters()).map((one) => [one.address, one]));
  const containers = exec.list();
  const own = addressRates(containers);
  const known = new Map(networks().map((one) => [one.id, one]));
  return containers.flatMap(({ spec, endpoints }) =>
    endpoints.flatMap(({ network, networkId, address, address6 }) => {
      const there = known.get(networkId);
      if (there === undefined || there.kind === 'external') return [];
      return [address, address6]
        .filter((one) => one !== '')
        .map((one) => {
          const { bytesIn = 0, bytesOut = 0, flows = 0 } = counted.get(one) ?? {};
          const bits = (own.get(one)?.rate ?? 0) * 8 || networkRate(there, ownRate);
          return {
            ...{ Container: spec.id, Name: spec.name, Network: network, Address: one },
            ...{ BytesIn: bytesIn, BytesOut: bytesOut, Flows: flows },
            Rate: bits === 0 || bits >= 1e12 ? '' : bitRateText(bits),
          };
        });
    }),
  );
}
