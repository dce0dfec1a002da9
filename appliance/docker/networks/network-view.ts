/** A network as the API shows it. */
import type { AskedPool, NetworkInfo, Pool, PoolUse } from '../../../port-layer/index.js';
import { atLeast } from '../http/api-version.js';
import { parseSubnet } from './addresses.js';

/** The largest number that JavaScript writes so that it fits into 64 bits, in which clients read it. */
const MOST = 2n ** 64n - 2048n;

/** @param whole with its containers */
export function networkView(network: NetworkInfo, whole: boolean): object {
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt.toISOString(),
    Scope: 'local',
    Driver: network.driver,
    EnableIPv4: network.ipv4,
    EnableIPv6: network.ipv6,
    IPAM: {
      Driver: network.ipamDriver,
      Options: network.ipamOptions,
      Config: ipamConfig(network),
    },
    Internal: network.internal,
    Attachable: network.attachable,
    Ingress: network.ingress,
    ConfigFrom: { Network: network.configFrom ?? '' },
    ConfigOnly: network.kind === 'config',
    Containers: whole ? containersView(network) : {},
    // Where it is, for those who look after vSphere. What a user has made is shown as it was asked for.
    Options:
      network.predefined && network.portGroup !== ''
        ? { ...network.options, 'com.caisson.portgroup': network.portGroup }
        : network.options,
    Labels: network.labels,
  };
}

/** `Status`, which clients of 1.52 and later get of a single network. */
export function statusView(usage: PoolUse[], version: string): object {
  if (!atLeast(version, '1.52') || usage.length === 0) return {};
  const number = (value: bigint): number => Number(value > MOST ? MOST : value);
  const subnets = usage.map(({ subnet, used, free }) => [
    subnet,
    { IPsInUse: number(used), DynamicIPsAvailable: number(free) },
  ]);
  return { Status: { IPAM: { Subnets: Object.fromEntries(subnets) } } };
}

function containersView({ endpoints }: NetworkInfo): object {
  return Object.fromEntries(
    endpoints.map((endpoint) => [
      endpoint.containerId,
      {
        Name: endpoint.containerName,
        EndpointID: endpoint.endpointId,
        MacAddress: endpoint.mac,
        IPv4Address: endpoint.address === '' ? '' : `${endpoint.address}/${endpoint.prefixLength}`,
        IPv6Address: endpoint.address6 === '' ? '' : `${endpoint.address6}/${endpoint.prefixLength6}`,
      },
    ]),
  );
}

/** Of each kind of address what was asked for; where nothing was, what was chosen. */
function ipamConfig({ asked = [], pools }: NetworkInfo): object[] | null {
  const given = FAMILIES.map((one) => asked.filter(({ subnet }) => familyOf(subnet) === one));
  // Of what was not asked for, what was chosen: it comes last.
  const chosen = FAMILIES.map((one, at) =>
    given[at]!.length > 0 ? [] : pools.filter(({ subnet }) => familyOf(subnet) === one),
  );
  const result = [...given.flat().map(givenPool), ...chosen.flat().map(chosenPool)];
  return result.length === 0 ? null : result;
}

const FAMILIES = [4, 6] as const;

const familyOf = (subnet = ''): number | undefined => parseSubnet(subnet)?.family;

function givenPool({ subnet, ipRange, gateway, aux }: AskedPool): object {
  return {
    Subnet: subnet,
    ...(ipRange ? { IPRange: ipRange } : {}),
    ...(gateway ? { Gateway: gateway } : {}),
    ...(aux && Object.keys(aux).length > 0 ? { AuxiliaryAddresses: aux } : {}),
  };
}

function chosenPool({ subnet, gateway }: Pool): object {
  return { Subnet: subnet, ...(gateway === '' ? {} : { Gateway: gateway }) };
}
