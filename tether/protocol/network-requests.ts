/** Requests that change the network of a running container, as bytes; `tether/guest/network_messages.c` reads them. */

import { invalid } from '../../src/common/errors.js';
import { noPacketFilter, packetFilter } from '../program/packet-filter.js';
import type { AddedNic, DefaultRoutes } from '../program/spec.js';
import { Dhcp } from '../program/steps.js';
import { FieldWriter } from './fields.js';

/** A file of the container that is written anew while it runs: only one that its program has. */
export interface RewrittenFile {
  path: string;
  content: string;
  /**
   * What becomes of what the container's processes have changed in it. As Docker does it: `/etc/hosts` is `merged` (lines that are no longer
   * there are taken out, and new ones are added), `/etc/resolv.conf` that was changed is `left` as it is.
   */
  changed: 'merged' | 'left';
}

/** {@link RewrittenFile}'s `changed` as a number. */
export const Changed = { left: 0, merged: 1 } as const;

/** The longest file of those that are written anew. */
export const MAX_REWRITTEN = 1 << 20;
/** How many name servers 127.0.0.11 passes questions on to. */
export const MAX_NAME_SERVERS = 8;

/** Address and prefix length of `a.b.c.d/n`; '' and 0 for ''. */
function cidr(fields: FieldWriter, text = ''): FieldWriter {
  const [address = '', prefix = '0'] = text.split('/');
  return fields.string(address).u32(Number(prefix));
}

/** A card's fields, of the request and of the program's step. */
export function cardFields(fields: FieldWriter, nic: AddedNic): FieldWriter {
  fields
    .string(nic.name)
    .string(nic.mac)
    .u32(nic.mtu ?? 0);
  cidr(fields, nic.address).string(nic.gateway ?? '');
  cidr(fields, nic.address6).string(nic.gateway6 ?? '');
  fields.u8(Dhcp[nic.dhcp ?? 'none']);
  return fields.strings(Object.entries(nic.sysctls ?? {}).flat()).raw(packetFilter(nic.filter));
}

export function removedCard(mac: string): Buffer {
  return new FieldWriter().string(mac).raw(noPacketFilter()).bytes();
}

/** @throws invalid for a file that is too long */
export function rewriteFields(files: readonly RewrittenFile[]): Buffer {
  const fields = new FieldWriter();
  for (const { path, content, changed } of files) {
    if (Buffer.byteLength(content) > MAX_REWRITTEN) throw invalid(`${path} would become too long`);
    fields.string(path).u8(Changed[changed]).string(content);
  }
  return fields.bytes();
}

export function routeFields({ gateway, mac, gateway6, mac6 }: DefaultRoutes): Buffer {
  return new FieldWriter().string(gateway).string(mac).string(gateway6).string(mac6).bytes();
}

/** @throws invalid when there are too many */
export function nameServerFields(servers: string[]): Buffer {
  if (servers.length > MAX_NAME_SERVERS) throw invalid(`a container can have ${MAX_NAME_SERVERS} name servers`);
  return new FieldWriter().strings(servers).bytes();
}
