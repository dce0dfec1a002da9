/** The addresses of NFS servers: mount(2) takes an IP address, and whoever makes a volume may give a name. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { errnoOf } from '../../src/common/errors.js';
import { within } from '../../src/common/within.js';
import { PortLayerError } from '../errors.js';
import type { GuestMount, VolumeMount } from './types.js';

const LOOKUP_MS = 5000;

/** The host that a mount names: in `addr`, or before the path of its device. '': none. */
export function nfsHost({ device, data }: Pick<GuestMount, 'device' | 'data'>): string {
  const addr = /(?:^|,)addr=([^,]*)/.exec(data)?.[1] ?? '';
  const before = /^(?:\[([^\]]+)\]|([^/:]+)):\//.exec(device);
  return addr === '' ? (before?.[1] ?? before?.[2] ?? '') : addr.replace(/^\[|\]$/g, '');
}

/** Mount data with this address. */
export function withAddress(data: string, address: string): string {
  const rest = data.split(',').filter((word) => word !== '' && !word.startsWith('addr='));
  return [`addr=${address}`, ...rest].join(',');
}

/**
 * A container's mounts with the addresses of their servers, looked up on the endpoint's machine as Docker looks them up on its own.
 * @throws unavailable when there is no such host @param find for tests
 */
export async function addressed(
  mounts: VolumeMount[],
  find: (host: string) => Promise<{ address: string }> = lookup,
): Promise<VolumeMount[]> {
  return Promise.all(
    mounts.map(async (one) => {
      if (one.mount === undefined || one.mount.type === 'tmpfs') return one;
      const host = nfsHost(one.mount);
      if (host === '') return one;
      const address = isIP(host) !== 0 ? host : await resolved(one.volume, host, find);
      return { ...one, mount: { ...one.mount, data: withAddress(one.mount.data, address) } };
    }),
  );
}

async function resolved(
  volume: string,
  host: string,
  find: (host: string) => Promise<{ address: string }>,
): Promise<string> {
  try {
    const found = await within(find(host), LOOKUP_MS, () => undefined);
    if (found !== undefined) return found.address;
  } catch (error) {
    throw new PortLayerError('volume.noAddress', {
      volume,
      host,
      reason: errnoOf(error) === 'ENOTFOUND' ? 'no such host' : (errnoOf(error) ?? 'it failed'),
    });
  }
  throw new PortLayerError('volume.noAddress', { volume, host, reason: 'i/o timeout' });
}
