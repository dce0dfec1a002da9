/** What runs virtual machines on this host, told as vendors tell what else there is to know of a host. */
import { release } from 'node:os';
import type { AnyElementDescription, HostSystemIdentificationInfo } from '../../../vim25/server.js';

/** Members that are empty are not told. */
export interface RunsMachines {
  /** What executes their code, and why. */
  acceleration?: string;
  /** The emulator, with its version. */
  emulator?: string;
  /** The version of the kernel that VMs of containers boot. */
  kernel?: string;
  /** What the emulator is kept in. */
  cage?: string;
  /** Means of keeping VMs apart that this machine does not have, one sentence each. */
  lacks?: readonly string[];
}

/** HostHardwareSummary.otherIdentifyingInfo: where vSphere tells what vendors know of a host besides. */
export function identifyingInfo({
  acceleration,
  emulator,
  kernel,
  cage,
  lacks,
}: RunsMachines): HostSystemIdentificationInfo[] {
  const known: [key: string, summary: string, value: string | undefined][] = [
    ['Acceleration', 'What runs virtual machines, and why', acceleration],
    ['Emulator', 'The program that runs virtual machines', emulator],
    ['HostKernel', 'The version of the kernel that this host runs', release()],
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
