/**
 * How fast a container may send and receive through its gateway: by its place on a network (`--network name=…,driver-opt=caisson.egress-rate=…`),
 * else by the network (`docker network create -o`), else by the virtual container host (`--egress-rate`).
 */
import type { ContainerInfo, NetworkInfo } from '../../../port-layer/index.js';
import { parseBitRate } from '../../../src/common/bit-rate.js';
import { invalid, unsupported } from '../../../src/common/errors.js';

export const RATE_OPTION = 'caisson.egress-rate';
const NONE = 'none';
/** More than any machine carries, so as good as none: an address that has a rate of its own does not have its network's. */
const UNLIMITED = 1e12;

/** @returns bits a second; 0 for `none`; null if it is not given @throws invalid */
export function readRate(options: Record<string, string> | null | undefined): number | null {
  const text = options?.[RATE_OPTION];
  if (text === undefined) return null;
  return text === NONE ? 0 : parseBitRate(RATE_OPTION, text);
}

/** @throws invalid for a rate that means nothing there; unsupported where the engine does not carry what the container sends */
export function checkNetworkRate(options: Record<string, string>, internal: boolean): void {
  const rate = readRate(options);
  if (internal && rate !== null && rate > 0)
    throw invalid(`${RATE_OPTION}=${options[RATE_OPTION]}: an internal network has no way out, and publishes nothing`);
}

/** @param network undefined: it does not exist (yet) @throws as {@link checkNetworkRate} */
export function checkEndpointRate(
  name: string,
  network: Pick<NetworkInfo, 'kind' | 'internal'> | undefined,
  options: Record<string, string> | null | undefined,
): void {
  const rate = readRate(options);
  if (rate === null) return;
  if (network?.kind === 'external')
    throw unsupported(`${RATE_OPTION} is not implemented for ${name}: what is sent there does not pass by this engine`);
  if (network !== undefined) checkNetworkRate(options ?? {}, network.internal);
}

/** On a host whose networks' gateway this engine is not, nothing that a container sends passes by it. @throws unsupported */
export function refuseRate(options: Record<string, string> | null | undefined): void {
  if (readRate(options) !== null)
    throw unsupported(`${RATE_OPTION} is not implemented on this host: this engine is not the gateway of its networks`);
}

/** Bits a second for a network's containers; 0: as many as it goes. @param ownRate the virtual container host's */
export const networkRate = ({ options }: Pick<NetworkInfo, 'options'>, ownRate: number | undefined): number =>
  readRate(options) ?? ownRate ?? 0;

/** What the gateway is to know of a container's address. */
export interface AddressRate {
  container: string;
  /** Bytes a second; 0: none of its own. */
  rate: number;
}

/** By address. */
export function addressRates(
  containers: readonly Pick<ContainerInfo, 'spec' | 'endpoints'>[],
): Map<string, AddressRate> {
  const rates = new Map<string, AddressRate>();
  for (const { spec, endpoints } of containers)
    for (const { network, networkId, address, address6 } of endpoints) {
      const wish = spec.networks.find((one) => (one.networkId ?? networkId) === networkId && one.network === network);
      const bits = readRate(wish?.driverOpts);
      for (const one of [address, address6])
        if (one !== '')
          rates.set(one, { container: spec.id, rate: bits === null ? 0 : Math.ceil((bits || UNLIMITED) / 8) });
    }
  return rates;
}
