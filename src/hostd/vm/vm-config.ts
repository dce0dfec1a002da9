/** A VM's configuration: the contents of its .vmx file. */
import { randomUUID } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { fromGuestOs, toGuestOs } from './guest-os.js';
import { isDeviceKey, readVmxDevices, vmxDevices } from './hardware/devices.js';
import { emptyHardware, type Hardware } from './hardware/hardware.js';
import { formatVmx, parseVmx } from './vmx.js';
import { fromVmxFile, toVmxFile, withFiles } from './vmx-files.js';

/** Plain data. */
export interface VmConfig {
  name: string;
  uuid: string;
  instanceUuid: string;
  guestId: string;
  annotation: string;
  cpus: number;
  memoryMiB: number;
  /** Its CPU weight (`cpu-shares.ts`); null: the default. */
  cpuShares: number | null;
  createdAt: Date;
  changeVersion: number;
  hardware: Hardware;
  /** Everything that is not hardware: `guestinfo.*` and other free keys. */
  extraConfig: Map<string, string>;
}

const OWN_KEYS = new Set([
  'config.version',
  'virtualHW.version',
  'displayName',
  'guestOS',
  'annotation',
  'memsize',
  'numvcpus',
  'sched.cpu.shares',
  'uuid.bios',
  'vc.uuid',
  'caisson.createdAt',
  'caisson.changeVersion',
]);

/** Keys that clients may not set as extra configuration. */
export function isOwnKey(key: string): boolean {
  return OWN_KEYS.has(key) || isDeviceKey(key);
}

export function newVmConfig(name: string): VmConfig {
  return {
    name,
    uuid: randomUUID(),
    instanceUuid: randomUUID(),
    guestId: 'otherGuest64',
    annotation: '',
    cpus: 1,
    memoryMiB: 32,
    cpuShares: null,
    createdAt: new Date(),
    changeVersion: 1,
    hardware: emptyHardware(),
    extraConfig: new Map(),
  };
}

/** Replaces the .vmx file in one step. @param directory its directory, as a datastore path */
export async function saveVmx(path: string, directory: string, config: VmConfig): Promise<void> {
  const entries: [string, string][] = [
    ['config.version', '8'],
    ['virtualHW.version', '14'],
    ['displayName', config.name],
    ['guestOS', toGuestOs(config.guestId)],
    ['annotation', config.annotation],
    ['memsize', String(config.memoryMiB)],
    ['numvcpus', String(config.cpus)],
    ['sched.cpu.shares', config.cpuShares === null ? 'normal' : String(config.cpuShares)],
    ['uuid.bios', config.uuid],
    ['vc.uuid', config.instanceUuid],
    ['caisson.createdAt', config.createdAt.toISOString()],
    ['caisson.changeVersion', String(config.changeVersion)],
    ...vmxDevices(withFiles(config.hardware, (file) => toVmxFile(file, directory))),
    ...config.extraConfig,
  ];
  // The file contains secrets from the container's configuration.
  await writeFile(`${path}.new`, formatVmx(entries), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Reads a .vmx file. @param directory its directory, as a datastore path */
export async function loadVmx(path: string, directory: string): Promise<VmConfig> {
  const vmx = parseVmx(await readFile(path, 'utf8'));
  const created = new Date(vmx.get('caisson.createdAt') ?? '');
  return {
    ...newVmConfig(vmx.get('displayName') ?? path),
    uuid: vmx.get('uuid.bios') ?? randomUUID(),
    instanceUuid: vmx.get('vc.uuid') ?? randomUUID(),
    guestId: fromGuestOs(vmx.get('guestOS') ?? 'otherGuest64'),
    annotation: vmx.get('annotation') ?? '',
    cpus: Number(vmx.get('numvcpus') ?? 1),
    memoryMiB: Number(vmx.get('memsize') ?? 32),
    cpuShares: /^\d+$/.test(vmx.get('sched.cpu.shares') ?? '') ? Number(vmx.get('sched.cpu.shares')) : null,
    createdAt: Number.isNaN(created.getTime()) ? new Date(0) : created,
    changeVersion: Number(vmx.get('caisson.changeVersion') ?? 1),
    hardware: withFiles(readVmxDevices(vmx), (name) => fromVmxFile(name, directory)),
    extraConfig: new Map([...vmx].filter(([key]) => !isOwnKey(key))),
  };
}
