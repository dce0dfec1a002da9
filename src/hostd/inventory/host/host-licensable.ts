/** HostSystem.licensableResource. */
import { cpus } from 'node:os';

/** HostLicensableResourceInfo. */
export function hostLicensable(): object {
  const count = cpus().length;
  const one = (key: string, value: number): object => ({ key, value: { $type: 'long', value } });
  return { resource: [one('numCpuPackages', 1), one('numCpuCores', count), one('numVmsStarted', 0)] };
}
