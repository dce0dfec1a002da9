/** HostSystem.capability. */
import { typeFields } from '../../../vim25/server.js';

/** Required members of HostCapability that are not plain "no". */
const CAPABLE = new Set([
  'recursiveResourcePoolsSupported',
  'cpuMemoryResourceConfigurationSupported',
  'preAssignedPCIUnitNumbersSupported',
]);

/** Its required members, all of them xsd:boolean. */
const REQUIRED = (typeFields('HostCapability') ?? []).flatMap(({ name, optional, array }) =>
  optional || array ? [] : [name],
);

export const HOST_CAPABILITY: object = {
  ...Object.fromEntries(REQUIRED.map((name) => [name, CAPABLE.has(name)])),
  maxSupportedVcpus: 256,
  maxHostSupportedVcpus: 256,
  ftSupported: false,
  recordReplaySupported: false,
  nestedHVSupported: false,
  deltaDiskBackingsSupported: true,
};
