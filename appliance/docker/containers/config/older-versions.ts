/**
 * What a create request means when it comes from a client of an older API version. Such clients do not know what came later, and expect
 * what has changed as it was (Engine API, "Versions" and the changes of each; moby `daemon/server/router/container`).
 */
import { invalid } from '../../../../src/common/errors.js';
import { atLeast } from '../../http/api-version.js';
import type { CreateBody } from './create-body.js';
import { type HostConfig, hostOptions } from './host-options.js';

/** Changes the request to what it means in the newest version. @returns warnings of what is ignored @throws invalid in Docker's words */
export function asNewest(wanted: CreateBody, version: string): string[] {
  const host = wanted.HostConfig ?? {};
  const before = (wantedVersion: string): boolean => !atLeast(version, wantedVersion);
  if (version === '1.40' && (host.Capabilities ?? []).length > 0)
    throw invalid(
      'the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities',
    );
  delete host.Capabilities;
  const noKernelMemory = before('1.42') && (host.KernelMemory ?? 0) > 0;
  delete host.KernelMemory;
  for (const [name, { since, until }] of hostOptions)
    if ((since !== undefined && before(since)) || (until !== undefined && !before(until))) delete host[name];
  if (before('1.40') && (host.IpcMode ?? '') === '') host.IpcMode = 'shareable';
  if (before('1.44') && wanted.Healthcheck) wanted.Healthcheck.StartInterval = 0;
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
    // Since 1.42 options of other types of mounts are refused; before, they were ignored.
    if (before('1.42') && mount.Type !== 'volume') delete mount.VolumeOptions;
    if (before('1.42') && mount.Type !== 'tmpfs') delete mount.TmpfsOptions;
    if (before('1.44') && mount.Type === 'bind' && mount.BindOptions?.ReadOnlyForceRecursive === true)
      throw invalid('BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer');
    if (before('1.45') && mount.VolumeOptions?.Subpath) throw invalid('VolumeOptions.Subpath needs API v1.45 or newer');
    if (before('1.48') && mount.Type === 'image') throw invalid('Mount type "Image" needs API v1.48 or newer');
  }
}

/** The driver for all volumes does not apply to those in `Mounts`. */
function volumeDriver(host: HostConfig, silent: boolean): string {
  if (silent || !host.VolumeDriver) return '';
  const ignored = (host.Mounts ?? []).some(
    ({ Type, VolumeOptions }) => Type === 'volume' && !VolumeOptions?.DriverConfig?.Name,
  );
  return ignored
    ? "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
    : '';
}

/** The address of the card: before 1.44 the container's field, since 1.52 the network's, between them either. */
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

/** A port without a binding gets the default one. Docker warns that this will end. */
function emptyBindings(host: HostConfig): string {
  const ports = Object.entries(host.PortBindings ?? {}).filter(([, list]) => (list ?? []).length === 0);
  for (const [port] of ports) host.PortBindings![port] = [{ HostIp: '', HostPort: '' }];
  const names = ports.map(([port]) => (port.includes('/') ? port : `${port}/tcp`));
  return names.length === 0
    ? ''
    : `Following container port(s) have an empty list of port-bindings: ${names.join(', ')}. Such bindings will be discarded in a future version.`;
}
