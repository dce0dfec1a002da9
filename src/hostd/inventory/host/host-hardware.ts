/** HostSystem.hardware. */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { AboutInfo } from '../../../vim25/server.js';
import { machineFacts } from './machine-facts.js';

/** HostHardwareInfo. */
export function hostHardware(about: AboutInfo): object {
  const { uuid, model, vendor, threads, mhz, nodes } = machineFacts(about);
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
 * CPUID leaves as vSphere writes them, `xxxx:xxxx:…` from bit 31 down. Clients look for one bit, which the
 * kernel tells everybody: whether this is a 64-bit processor (leaf 0x80000001, EDX bit 29). All others are 0.
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
