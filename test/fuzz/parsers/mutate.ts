/** Inputs for parsers, made from other inputs. */

import type { Random } from '../../support/random.js';

export const MAX_INPUT = 16_384;
const NUMBERS = [
  0,
  1,
  2,
  4,
  5,
  8,
  9,
  13,
  16,
  127,
  255,
  256,
  511,
  512,
  513,
  4096,
  32_768,
  65_535,
  65_536,
  1 << 20,
  0x7fffffff,
  0xffffffff,
];

/** An input from a pool, changed in one to six places. */
export function mutate(pool: readonly Buffer[], tokens: readonly (string | Buffer)[], random: Random): Buffer {
  let input: Buffer = Buffer.from(pool[random(pool.length)] ?? Buffer.alloc(0));
  for (let left = 1 + random(6); left > 0; left--) input = change(input, pool, tokens, random);
  return input.subarray(0, MAX_INPUT);
}

function change(input: Buffer, pool: readonly Buffer[], tokens: readonly (string | Buffer)[], random: Random): Buffer {
  const at = random(input.length + 1);
  const length = Math.min(input.length - at, 1 + random(1 << random(8)));
  const insert = (piece: Buffer | string, over = 0): Buffer =>
    Buffer.concat([input.subarray(0, at), Buffer.from(piece as Buffer), input.subarray(at + over)]);
  switch (random(10)) {
    case 0:
      if (at < input.length) input[at]! ^= 1 << random(8);
      return input;
    case 1:
      if (at < input.length) input[at] = random(256);
      return input;
    case 2:
      if (at + 4 <= input.length) input.writeUInt32LE(NUMBERS[random(NUMBERS.length)]!, at);
      return input;
    case 3:
      return insert('', length);
    case 4:
      return insert(input.subarray(at, at + length));
    case 5:
      return insert(Buffer.alloc(1 + random(1 << random(11)), random(2) === 0 ? 0 : 32 + random(95)));
    case 6:
    case 7:
      return tokens.length === 0 ? input : insert(tokens[random(tokens.length)]!, random(3) === 0 ? length : 0);
    case 8: {
      const other = pool[random(pool.length)] ?? input;
      const from = random(other.length + 1);
      return insert(other.subarray(from, from + random(other.length - from + 1)), random(2) === 0 ? length : 0);
    }
    default:
      return input.subarray(0, at);
  }
}

/** Cuts bytes into pieces at random. */
export function pieces(input: Buffer, random: Random): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < input.length; ) {
    const length = 1 + random(1 << random(10));
    // In separate memory, like data from a socket.
    parts.push(Buffer.from(input.subarray(at, at + length)));
    at += length;
  }
  return parts;
}
