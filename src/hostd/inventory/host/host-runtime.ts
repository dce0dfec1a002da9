/** HostSystem.runtime. */
import { uptime } from 'node:os';

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
