/** This machine as its processor and kernel describe it. */
import { cpus } from 'node:os';
import type { AboutInfo } from '../../../vim25/server.js';
import { cpuMhz } from '../../host-cpu.js';

export interface MachineFacts {
  uuid: string;
  model: string;
  vendor: string;
  threads: number;
  mhz: number;
  nodes: number;
}

export function machineFacts(about: AboutInfo): MachineFacts {
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
