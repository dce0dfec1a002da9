/** What HostSystem says of the machine: hardware, capabilities, configuration. */
import { readFileSync } from 'node:fs';
import { cpus, freemem, hostname, loadavg, release, totalmem, uptime } from 'node:os';
import type {
  AboutInfo,
  AnyElementDescription,
  HostSystemIdentificationInfo,
  ManagedObjectReference,
} from '../../vim25/types.generated.js';
import { REJECT_ALL, type SecurityPolicy } from '../switch/security-policy.js';

/** Hz is told in whole MHz; a machine that tells none is taken for one of 2 GHz. */
const MHZ = cpus()[0]?.speed || 2000;

export function cpuMhz(): number {
  return MHZ;
}

/** The machine as its processor and kernel describe it. */
interface Machine {
  uuid: string;
  model: string;
  vendor: string;
  threads: number;
  mhz: number;
  nodes: number;
}

function machine(about: AboutInfo): Machine {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? '';
  return {
    uuid: about.instanceUuid ?? '00000000-0000-0000-0000-000000000000',
    model,
    vendor: /AMD/i.test(model) ? 'amd' : /Intel/i.test(model) ? 'intel' : 'unknown',
    threads: processors.length,
    mhz: cpuMhz(),
    nodes: 1,
  };
}

/** HostHardwareInfo. */
export function hostHardware(about: AboutInfo): object {
  const { uuid, model, vendor, threads, mhz, nodes } = machine(about);
  const threadIds = Array.from({ length: threads }, (_, index) => index);
  return {
    systemInfo: { vendor: 'Caisson', model: 'embedded host', uuid, otherIdentifyingInfo: [] },
    cpuInfo: { numCpuPackages: 1, numCpuCores: threads, numCpuThreads: threads, hz: mhz * 1_000_000 },
    cpuPkg: [
      {
        index: 0,
        vendor,
        hz: mhz * 1_000_000,
        busHz: 0,
        description: model,
        threadId: threadIds,
        cpuFeature: cpuFeature(),
      },
    ],
    memorySize: totalmem(),
    numaInfo: {
      type: 'NUMA',
      numNodes: nodes,
      numaNode: [{ typeId: 0, cpuID: threadIds, memoryRangeBegin: 0, memoryRangeLength: totalmem() }],
    },
    smcPresent: false,
    pciDevice: [],
    cpuFeature: cpuFeature(),
    biosInfo: { biosVersion: '1', releaseDate: new Date(0) },
  };
}

/**
 * CPUID leaves as vSphere writes them, `xxxx:xxxx:…` from bit 31 down. Only what the kernel tells everybody is said: whether the
 * processor is a 64-bit one (leaf 0x80000001, EDX bit 29), which is what clients look for.
 */
function cpuFeature(): object[] {
  const zero = Array(8).fill('0000').join(':');
  const long = longMode() ? '0010:0000:0000:0000:0000:0000:0000:0000' : zero;
  const leaf = (level: number, edx: string): object => ({ level, vendor: '', eax: zero, ebx: zero, ecx: zero, edx });
  return [leaf(0, zero), leaf(1, zero), leaf(-2147483648, zero), leaf(-2147483647, long)];
}

function longMode(): boolean {
  try {
    return /^flags\s*:.*\blm\b/m.test(readFileSync('/proc/cpuinfo', 'utf8').slice(0, 100_000));
  } catch {
    return true;
  }
}

const startedAt = new Date(Date.now() - uptime() * 1000);

/** HostRuntimeInfo. */
export function hostRuntime(): object {
  return {
    connectionState: 'connected',
    powerState: 'poweredOn',
    standbyMode: 'none',
    inMaintenanceMode: false,
    inQuarantineMode: false,
    bootTime: startedAt,
    hostMaxVirtualDiskCapacity: 1024 * 2 ** 30,
    cryptoState: 'incapable',
  };
}

/** What runs virtual machines; nothing is said of what is empty. */
export interface RunsMachines {
  /** What executes their code, and why. */
  acceleration?: string;
  /** The emulator, with its version. */
  emulator?: string;
  /** The version of the kernel that containers' machines boot. */
  kernel?: string;
  /** What the emulator is kept in. */
  cage?: string;
  /** What keeps machines apart elsewhere and is not to be had here, one sentence each. */
  lacks?: readonly string[];
}

/** HostListSummary. */
export function hostSummary(host: ManagedObjectReference, name: string, about: AboutInfo, runs: RunsMachines): object {
  const { uuid, model, threads, mhz } = machine(about);
  const busy = Math.min(1, (loadavg()[0] ?? 0) / threads);
  return {
    $type: 'HostListSummary',
    host,
    hardware: {
      vendor: 'Caisson',
      model: 'embedded host',
      uuid,
      otherIdentifyingInfo: identify(runs),
      memorySize: totalmem(),
      cpuModel: model,
      cpuMhz: mhz,
      numCpuPkgs: 1,
      numCpuCores: threads,
      numCpuThreads: threads,
      numNics: 1,
      numHBAs: 1,
    },
    runtime: hostRuntime(),
    config: {
      name,
      port: 443,
      product: about,
      vmotionEnabled: false,
      faultToleranceEnabled: false,
      featureVersion: [],
    },
    quickStats: {
      overallCpuUsage: Math.round(busy * threads * mhz),
      overallMemoryUsage: Math.round((totalmem() - freemem()) / 2 ** 20),
      uptime: Math.floor(uptime()),
    },
    overallStatus: 'green',
    rebootRequired: false,
    customValue: [],
    maxEVCModeKey: release(),
  };
}

/** Required members of HostCapability that are not plain "no". */
const CAPABLE = new Set([
  'recursiveResourcePoolsSupported',
  'cpuMemoryResourceConfigurationSupported',
  'preAssignedPCIUnitNumbersSupported',
]);

/** HostCapability. @param required names of its required members, all of them xsd:boolean */
export function hostCapability(required: string[]): object {
  return {
    ...Object.fromEntries(required.map((name) => [name, CAPABLE.has(name)])),
    maxSupportedVcpus: 256,
    maxHostSupportedVcpus: 256,
    ftSupported: false,
    recordReplaySupported: false,
    nestedHVSupported: false,
    deltaDiskBackingsSupported: true,
  };
}

const SWITCH = 'vSwitch0';

/** HostNetworkInfo: one virtual switch with the port groups. */
export function hostNetwork(portGroups: ReadonlyMap<string, SecurityPolicy>): object {
  const names = [...portGroups.keys()];
  const policyOf = (name: string): object => ({ security: { ...(portGroups.get(name) ?? REJECT_ALL) } });
  const policy = policyOf('');
  const key = (name: string): string => `key-vim.host.PortGroup-${name}`;
  return {
    vswitch: [
      {
        name: SWITCH,
        key: `key-vim.host.VirtualSwitch-${SWITCH}`,
        numPorts: 1024,
        numPortsAvailable: 1024,
        mtu: 1500,
        portgroup: names.map(key),
        pnic: [],
        spec: { numPorts: 1024, policy, mtu: 1500 },
      },
    ],
    proxySwitch: [],
    portgroup: [...portGroups.keys()].map((name) => ({
      key: key(name),
      vswitch: `key-vim.host.VirtualSwitch-${SWITCH}`,
      computedPolicy: policyOf(name),
      spec: { name, vlanId: 0, vswitchName: SWITCH, policy: policyOf(name) },
    })),
    pnic: [],
    vnic: [],
    consoleVnic: [],
    dhcp: [],
    nat: [],
    rdmaDevice: [],
    netStackInstance: [],
    opaqueSwitch: [],
    opaqueNetwork: [],
    ipV6Enabled: false,
    dnsConfig: hostDns(),
    ipRouteConfig: hostRoutes(),
    atBootIpV6Enabled: false,
  };
}

/** HostDnsConfig. */
export function hostDns(): object {
  const [hostName = '', ...domain] = hostname().split('.');
  return { $type: 'HostDnsConfig', dhcp: false, hostName, domainName: domain.join('.'), address: [], searchDomain: [] };
}

/** HostIpRouteConfig. */
export function hostRoutes(): object {
  return { $type: 'HostIpRouteConfig' };
}

/** HostConfigInfo. */
export function hostConfig(
  host: ManagedObjectReference,
  about: AboutInfo,
  portGroups: ReadonlyMap<string, SecurityPolicy>,
): object {
  return {
    host,
    product: about,
    hyperThread: { available: false, active: false, config: false },
    network: hostNetwork(portGroups),
    datastorePrincipal: '',
    adminDisabled: false,
    wakeOnLanCapable: false,
  };
}

/** HostLicensableResourceInfo. */
export function hostLicensable(): object {
  const count = cpus().length;
  const one = (key: string, value: number): object => ({ key, value: { $type: 'long', value } });
  return { resource: [one('numCpuPackages', 1), one('numCpuCores', count), one('numVmsStarted', 0)] };
}

/** As vSphere tells what vendors know of a host besides. */
function identify({ acceleration, emulator, kernel, cage, lacks }: RunsMachines): HostSystemIdentificationInfo[] {
  const known: [key: string, summary: string, value: string | undefined][] = [
    ['Acceleration', 'What runs virtual machines, and why', acceleration],
    ['Emulator', 'The program that runs virtual machines', emulator],
    ['ContainerKernel', 'The kernel that virtual machines of containers boot', kernel],
    ['Cage', 'What the emulator is kept in', cage],
    ['Lacks', 'What keeps virtual machines apart elsewhere and is not to be had here', lacks?.join('\n')],
  ];
  return known.flatMap(([key, summary, identifierValue]) => {
    if (!identifierValue) return [];
    const identifierType: AnyElementDescription = { $type: 'ElementDescription', key, label: key, summary };
    return [{ identifierType, identifierValue }];
  });
}
