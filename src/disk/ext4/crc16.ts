/** CRC-16 (polynomial 0x8005 reflected), as block group descriptors use it with the feature `gdt_csum`. */

const TABLE = new Uint16Array(256);
for (let i = 0; i < 256; i++) {
  let value = i;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xa001 : value >>> 1;
  TABLE[i] = value;
}

/** Continues `crc` (start: 0xffff) over `data`. */
export function crc16(crc: number, data: Buffer): number {
  let value = crc;
  for (const byte of data) value = (value >>> 8) ^ (TABLE[(value ^ byte) & 0xff] as number);
  return value;
}
