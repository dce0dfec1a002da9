/** A third-party vSphere client to test hostd with: the Go program of test/govmomi. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildGo } from './go.js';

/** A VM as govmomi sees it. */
export interface GovmomiVm {
  name: string;
  /** Managed object id. */
  reference: string;
  powerState: string;
  /** Empty if the guest reported none. */
  ipAddress: string;
  guestinfo: Record<string, string>;
}

/** Where to log in. */
export interface GovmomiTarget {
  /** `https://host:port/sdk` */
  url: string;
  user: string;
  password: string;
}

const SOURCE = new URL('../govmomi', import.meta.url).pathname;

/**
 * Logs in with govmomi and lists all VMs; if asked to, first powers one off, or waits until one is off.
 * @throws with govmomi's message when anything fails
 */
export async function govmomi(
  target: GovmomiTarget,
  action: { powerOff?: string; watch?: string; signal?: AbortSignal } = {},
): Promise<GovmomiVm[]> {
  const url = new URL(target.url);
  url.username = encodeURIComponent(target.user);
  url.password = encodeURIComponent(target.password);
  const args = ['-url', url.href];
  if (action.powerOff !== undefined) args.push('-poweroff', action.powerOff);
  if (action.watch !== undefined) args.push('-watch', action.watch);
  const { stdout } = await promisify(execFile)(await buildGo(SOURCE), args, {
    signal: action.signal,
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(stdout) as GovmomiVm[];
}
