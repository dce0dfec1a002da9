/** What is known about the host below. */
import type { VimClient } from '../src/vim25/index.js';

/** What `docker info` shows of the host below. */
export interface HostInfo {
  cpus: number;
  memoryBytes: number;
  product: string;
  /** `HostAgent` for a single host, `VirtualCenter`. */
  api: string;
  version: string;
  kernelVersion: string;
  hostName: string;
  /** What runs its machines and why; empty if it does not tell. The same goes for the next two. */
  acceleration: string;
  /** The program that runs them, with its version: `QEMU emulator version 7.2.22 (…)`. */
  emulator: string;
  /** The version of the kernel that containers see. */
  containerKernel: string;
  /** What confines that program, one word per part; empty if the host does not tell. */
  cage: string;
  /** What isolates machines elsewhere but is not available there, one sentence each. */
  lacks: string[];
}

/** Asks the hosts below the target's root folder. @throws unavailable, VimFault */
export async function hostInfo(client: VimClient): Promise<HostInfo> {
  const { viewManager, rootFolder, about } = client.serviceContent;
  const view = await client.call('CreateContainerView', viewManager!, {
    container: rootFolder,
    type: ['HostSystem'],
    recursive: true,
  });
  try {
    const [content] = await client.retrieve([view], 'ContainerView', ['view']);
    const hosts = await client.retrieve(content?.props.view ?? [], 'HostSystem', ['name', 'summary']);
    const hardware = hosts.flatMap((host) => host.props.summary?.hardware ?? []);
    const told = (key: string): string =>
      hardware.flatMap((one) => one.otherIdentifyingInfo ?? []).find(({ identifierType }) => identifierType.key === key)
        ?.identifierValue ?? '';
    return {
      cpus: hardware.reduce((sum, one) => sum + one.numCpuThreads, 0),
      memoryBytes: hardware.reduce((sum, one) => sum + one.memorySize, 0),
      product: about.fullName,
      api: about.apiType,
      version: about.version,
      kernelVersion: told('HostKernel'),
      hostName: hosts[0]?.props.name ?? '',
      acceleration: told('Acceleration'),
      cage: told('Cage'),
      emulator: told('Emulator'),
      containerKernel: told('ContainerKernel'),
      lacks: told('Lacks')
        .split('\n')
        .filter((line) => line !== ''),
    };
  } finally {
    await client.call('DestroyView', view, {}).catch(() => undefined);
  }
}
