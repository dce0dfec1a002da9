/** A tar header block: POSIX.1-2017 `pax`, "ustar Interchange Format", with GNU tar's extensions. */
import { invalid } from '../../common/errors.js';

export const TAR_BLOCK = 512;

/** The fields of one header block; names have one character per byte. */
export interface TarHeader {
  name: string;
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of data after the header. */
  size: number;
  mtime: number;
  type: string;
  linkName: string;
  major: number;
  minor: number;
  gnu: boolean;
}

/** Text up to the first NUL. */
function text(block: Buffer, start: number, length: number): string {
  const value = block.toString('latin1', start, start + length);
  const end = value.indexOf('\0');
  return end < 0 ? value : value.slice(0, end);
}

/** A numeric field: octal digits, or GNU's base-256 form (first bit set). Blank counts as 0. */
export function tarNumber(block: Buffer, start: number, length: number): number {
  const first = block[start] as number;
  if (first & 0x80) {
    // Two's complement; bit 6 of the first byte is the sign.
    let value = first & 0x40 ? (first & 0x7f) - 0x80 : first & 0x7f;
    for (let i = start + 1; i < start + length; i++) value = value * 256 + (block[i] as number);
    if (!Number.isSafeInteger(value)) throw invalid('a number in a tar header is out of range');
    return value;
  }
  let value = 0;
  let digits = false;
  for (let i = start; i < start + length; i++) {
    const code = block[i] as number;
    if (code >= 48 && code <= 55) {
      value = value * 8 + code - 48;
      digits = true;
    } else if (code === 0 || code === 32) {
      if (digits) break;
    } else throw invalid('a number in a tar header is malformed');
  }
  return value;
}

function checksumMatches(block: Buffer): boolean {
  let unsigned = 8 * 32;
  let signed = 8 * 32;
  for (let i = 0; i < TAR_BLOCK; i++) {
    if (i >= 148 && i < 156) continue;
    const byte = block[i] as number;
    unsigned += byte;
    signed += byte < 128 ? byte : byte - 256; // some old tars summed signed characters
  }
  const stored = tarNumber(block, 148, 8);
  return stored === unsigned || stored === signed;
}

/** Parses a header block; null for the block of zeros that ends an archive. Throws `invalid`. */
export function parseTarHeader(block: Buffer): TarHeader | null {
  if (block[0] === 0 && block.every((byte) => byte === 0)) return null;
  if (!checksumMatches(block)) throw invalid('not a tar, or a damaged one: a header has a wrong checksum');
  const magic = block.toString('latin1', 257, 265);
  const gnu = magic === 'ustar  \0';
  const ustar = magic.startsWith('ustar\0');
  let name = text(block, 0, 100);
  const prefix = ustar ? text(block, 345, 155) : '';
  if (prefix !== '') name = `${prefix}/${name}`;
  const size = tarNumber(block, 124, 12);
  if (size < 0) throw invalid('a size in a tar header is negative');
  return {
    name,
    mode: tarNumber(block, 100, 8),
    uid: tarNumber(block, 108, 8),
    gid: tarNumber(block, 116, 8),
    size,
    mtime: tarNumber(block, 136, 12),
    type: String.fromCharCode(block[156] as number),
    linkName: text(block, 157, 100),
    major: gnu || ustar ? tarNumber(block, 329, 8) : 0,
    minor: gnu || ustar ? tarNumber(block, 337, 8) : 0,
    gnu,
  };
}
