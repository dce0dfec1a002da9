/** A network as the port layer keeps it, for tests. */
import type { NetworkSpec } from '../../port-layer/index.js';

/** A plain bridge network; what `own` says differs. */
export function networkSpec(
  own: Pick<NetworkSpec, 'id' | 'name' | 'portGroup' | 'pools'> & Partial<NetworkSpec>,
): NetworkSpec {
  return {
    createdAt: new Date(0).toISOString(),
    kind: 'bridge',
    ipv4: true,
    ipv6: false,
    internal: false,
    attachable: false,
    ingress: false,
    icc: true,
    egress: 'relay',
    mtu: 0,
    labels: {},
    options: {},
    ipamOptions: null,
    ipamDriver: 'default',
    ...own,
  };
}
