/** What clients of older API versions mean by a create request: what came later they do not know, and what has changed they expect as it was. */
import { atLeast } from './api-version.js';
import type { CreateBody } from './container-config.js';

/** Changes the request to what it means in the newest version (Engine API, "Versions" and the changes of each). */
export function asNewest(wanted: CreateBody, version: string): void {
  const host = wanted.HostConfig ?? {};
  const before = (wantedVersion: string): boolean => !atLeast(version, wantedVersion);
  // Before, clients removed the containers themselves.
  if (before('1.25')) host.AutoRemove = false;
  if (before('1.40') && (host.IpcMode ?? '') === '') host.IpcMode = 'shareable';
  if (before('1.40')) host.PidsLimit = null;
  if (before('1.43')) host.Annotations = null;
  if (before('1.44') && wanted.Healthcheck) wanted.Healthcheck.StartInterval = 0;
  if (before('1.44')) {
    for (const endpoint of Object.values(wanted.NetworkingConfig?.EndpointsConfig ?? {}))
      if (endpoint) endpoint.MacAddress = '';
  }
  wanted.HostConfig = host;
}
