/** ComputeResource: the processors and memory of the one host. */
import { cpus, totalmem } from 'node:os';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { cpuMhz } from '../host-cpu.js';
import { SimpleObject } from '../objects/simple-object.js';
import { COMPUTE_RESOURCE, ENVIRONMENT_BROWSER, HOST_FOLDER, HOST_SYSTEM, ROOT_POOL } from '../references.js';

export class ComputeResource extends SimpleObject {
  constructor(name: string, networks: () => ManagedObjectReference[], datastores: readonly ManagedObjectReference[]) {
    const processors = cpus().length;
    const mhz = cpuMhz() * processors;
    super('ComputeResource', COMPUTE_RESOURCE.value, {
      name,
      parent: HOST_FOLDER,
      resourcePool: ROOT_POOL,
      host: [HOST_SYSTEM],
      datastore: datastores,
      network: networks,
      environmentBrowser: ENVIRONMENT_BROWSER,
      configurationEx: { $type: 'ComputeResourceConfigInfo', vmSwapPlacement: 'vmDirectory', spbmEnabled: false },
      summary: {
        $type: 'ComputeResourceSummary',
        totalCpu: mhz,
        totalMemory: totalmem(),
        numCpuCores: processors,
        numCpuThreads: processors,
        effectiveCpu: mhz,
        effectiveMemory: Math.floor(totalmem() / 2 ** 20),
        numHosts: 1,
        numEffectiveHosts: 1,
        overallStatus: 'green',
      },
    });
  }
}
