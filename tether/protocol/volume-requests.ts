/** Requests about a volume that other machines mount too, as bytes; `tether/guest/volume_server.c` reads them. */
import { invalid } from '../../src/common/errors.js';
import type { DiskRef, HiddenCard, VolumeServing } from '../program/spec.js';
import { NO_CARD_NUMBER } from '../program/steps.js';
import { FieldWriter } from './fields.js';

/** How many clients may take back what a server before this one has given them. */
const MAX_RECLAIMING = 256;

/** A hidden card's fields, of the request and of a program's step. */
export function hiddenCardFields(fields: FieldWriter, { index, mac, address, mtu = 0 }: HiddenCard): FieldWriter {
  const [own = '', prefix = '32'] = address.split('/');
  return fields
    .u32(index ?? NO_CARD_NUMBER)
    .string(mac)
    .string(own)
    .u32(Number(prefix))
    .u32(mtu);
}

export function diskFields({ bus, unit }: DiskRef): FieldWriter {
  return new FieldWriter().u32(bus).u32(unit);
}

/** @throws invalid when there are too many clients */
export function servingFields({ disk, card, clients }: VolumeServing): Buffer {
  if (clients.length > MAX_RECLAIMING) throw invalid(`a volume can have ${MAX_RECLAIMING} clients`);
  return hiddenCardFields(diskFields(disk), card).strings(clients).bytes();
}
