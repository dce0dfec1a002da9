/** HostSystem.summary. */
import { freemem, loadavg, totalmem, uptime } from 'node:os';
import type { AboutInfo } from '../../../vim25/server.js';
import { HOST_SYSTEM } from '../../references.js';
import { hostRuntime } from './host-runtime.js';
import { machineFacts } from './machine-facts.js';
import { identifyingInfo, type RunsMachines } from './runs-machines.js';

/** HostListSummary. */
export function hostSummary(name: string, about: AboutInfo, runs: RunsMachines): object {
  const { uuid, model, threads, mhz } = machineFacts(about);
  const busy = Math.min(1, (loadavg()[0] ?? 0) / threads);
  return {
    $type: 'HostListSummary',
    host: HOST_SYSTEM,
    hardware: {
      vendor: 'Caisson',
      model: 'embedded host',
      uuid,
      otherIdentifyingInfo: identifyingInfo(runs),
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
  };
}
