/**
 * What an endpoint says of the port groups that it has made: extraConfig key `caisson.networks` of its VM, where it keeps its networks as a
 * JSON list. hostd reads three fields of each: `portGroup`, `icc` (false: containers do not reach each other) and `mtu` (0: the default).
 */
import { z } from 'zod';
import { fault } from '../faults.js';
import { ORDINARY, type PortGroupSettings } from '../switch/port-group-settings.js';

export const NETWORKS_KEY = 'caisson.networks';
/** The least that IPv4 allows, and the most that a virtual card can send at once. */
const [LEAST_MTU, MOST_MTU] = [68, 65_520];

const networks = z.array(
  z.object({
    portGroup: z.string(),
    icc: z.boolean().default(true),
    mtu: z
      .number()
      .int()
      .refine((mtu) => mtu === 0 || (mtu >= LEAST_MTU && mtu <= MOST_MTU))
      .default(0),
  }),
);

/** Settings by port group. @throws InvalidArgument */
export function wishedSettings(extraConfig: ReadonlyMap<string, string>): Map<string, PortGroupSettings> {
  const text = extraConfig.get(NETWORKS_KEY) ?? '[]';
  try {
    return new Map(
      networks
        .parse(JSON.parse(text))
        .map(({ portGroup, icc, mtu }) => [portGroup, { isolated: !icc, mtu: mtu === 0 ? ORDINARY.mtu : mtu }]),
    );
  } catch {
    throw fault('InvalidArgument', `the value of ${NETWORKS_KEY} is no list of networks that this host understands`, {
      invalidProperty: 'configSpec.extraConfig',
    });
  }
}
