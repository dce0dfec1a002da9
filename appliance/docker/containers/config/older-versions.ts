/**
 * What clients of an API version mean by a create request: what came later they do not know, and what has changed they expect as
 * it was (Engine API, "Versions" and the changes of each; moby `daemon/server/router/container`).
 */
import { invalid } from '../../../../src/common/errors.js';
import { atLeast } from '../../http/api-version.js';
import type { CreateBody, HostConfig } from './container-config.js';

/** Changes the request to what it means in the newest version. Gives the warnings of what will not be heard. @throws invalid in Docker's words */
export function asNewest(wanted: CreateBody, version: string): string[] {
  const host = wanted.HostConfig ?? {};
  const before = (wantedVersion: string): boolean => !atLeast(version, wantedVersion);
  // Before, clients removed the containers themselves.
  if (before('1.25')) host.AutoRemove = false;
  if (version === '1.40' && (host.Capabilities ?? []).length > 0)
    throw invalid(
      'the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities',
    );
  delete host.Capabilities;
  const noKernelMemory = before('1.42') && (host.KernelMemory ?? 0) > 0;
  delete host.KernelMemory;
  if (before('1.40') || !before('1.52')) delete host.KernelMemoryTCP;
  if (before('1.40') && (host.IpcMode ?? '') === '') host.IpcMode = 'shareable';
  if (before('1.42')) host.ConsoleSize = null;
  if (before('1.43')) host.Annotations = null;
  if (before('1.44') && wanted.Healthcheck) wanted.Healthcheck.StartInterval = 0;
  if (before('1.56')) host.Umask = null;
  olderMounts(host, before);
  if (before('1.48'))
    for (const endpoint of Object.values(wanted.NetworkingConfig?.EndpointsConfig ?? {}))
      if (endpoint) endpoint.GwPriority = 0;
  const networks = Object.keys(wanted.NetworkingConfig?.EndpointsConfig ?? {});
  if (before('1.44') && networks.length > 1)
    throw invalid(`Container cannot be created with multiple network endpoints: ${networks.join(', ')}`);
  const warnings = [
    volumeDriver(host, before('1.48')),
    macAddress(wanted, host, before),
    before('1.52') ? '' : emptyBindings(host),
    // As Docker says it where control groups are of version 2, which the kernel of a VM has.
    noKernelMemory
      ? 'Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.'
      : '',
  ];
  wanted.HostConfig = host;
  return warnings.filter((warning) => warning !== '');
}

function olderMounts(host: HostConfig, before: (version: string) => boolean): void {
  for (const mount of host.Mounts ?? []) {
    // Told of what is no option of theirs since 1.42, not before.
    if (before('1.42') && mount.Type !== 'volume') delete mount.VolumeOptions;
    if (before('1.42') && mount.Type !== 'tmpfs') delete mount.TmpfsOptions;
    if (before('1.44') && mount.Type === 'bind' && mount.BindOptions?.ReadOnlyForceRecursive === true)
      throw invalid('BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer');
    if (before('1.45') && mount.VolumeOptions?.Subpath) throw invalid('VolumeOptions.Subpath needs API v1.45 or newer');
    if (before('1.48') && mount.Type === 'image') throw invalid('Mount type "Image" needs API v1.48 or newer');
  }
}

/** A driver for all volumes is not that of those among `Mounts`. */
function volumeDriver(host: HostConfig, silent: boolean): string {
  if (silent || !host.VolumeDriver) return '';
  const ignored = (host.Mounts ?? []).some(
    ({ Type, VolumeOptions }) => Type === 'volume' && !VolumeOptions?.DriverConfig?.Name,
  );
  return ignored
    ? "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
    : '';
}

/** A card's address is the container's before 1.44, its network's since 1.52, and either between. */
function macAddress(wanted: CreateBody, host: HostConfig, before: (version: string) => boolean): string {
  const given = wanted.MacAddress ?? '';
  const mode = host.NetworkMode ?? '';
  if (before('1.44')) {
    for (const endpoint of Object.values(wanted.NetworkingConfig?.EndpointsConfig ?? {}))
      if (endpoint) endpoint.MacAddress = '';
    if (given !== '' && (mode === 'none' || mode === 'host' || mode.startsWith('container:')))
      throw invalid('conflicting options: mac-address and the network mode');
    return '';
  }
  if (given === '') return '';
  if (!before('1.52'))
    throw invalid('container-wide MAC address no longer supported; use endpoint-specific MAC address instead');
  return 'The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.';
}

/** One without a binding has the usual one, which Docker says it will not always have. */
function emptyBindings(host: HostConfig): string {
  const ports = Object.entries(host.PortBindings ?? {}).filter(([, list]) => (list ?? []).length === 0);
  for (const [port] of ports) host.PortBindings![port] = [{ HostIp: '', HostPort: '' }];
  const names = ports.map(([port]) => (port.includes('/') ? port : `${port}/tcp`));
  return names.length === 0
    ? ''
    : `Following container port(s) have an empty list of port-bindings: ${names.join(', ')}. Such bindings will be discarded in a future version.`;
}
