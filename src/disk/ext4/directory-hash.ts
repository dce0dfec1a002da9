/**
 * The hash of indexed directories: half MD4 over unsigned characters ("ext4 Data Structures and Algorithms", "Hash Tree
 * Directories"; `fs/ext4/hash.c` defines the padding).
 */

const K2 = 0x5a827999;
const K3 = 0x6ed9eba1;

const rol = (value: number, shift: number): number => (value << shift) | (value >>> (32 - shift));
const f = (x: number, y: number, z: number): number => z ^ (x & (y ^ z));
const g = (x: number, y: number, z: number): number => (x & y) + ((x ^ y) & z);
const h = (x: number, y: number, z: number): number => x ^ y ^ z;

/** Word indices and shifts of the three rounds. */
const ROUNDS = [
  { mix: f, add: 0, words: [0, 1, 2, 3, 4, 5, 6, 7], shifts: [3, 7, 11, 19] },
  { mix: g, add: K2, words: [1, 3, 5, 7, 0, 2, 4, 6], shifts: [3, 5, 9, 13] },
  { mix: h, add: K3, words: [3, 7, 2, 6, 1, 5, 0, 4], shifts: [3, 9, 11, 15] },
] as const;

function transform(state: Int32Array, input: Int32Array): void {
  let [a, b, c, d] = state as unknown as [number, number, number, number];
  for (const { mix, add, words, shifts } of ROUNDS) {
    for (let i = 0; i < 8; i++) {
      const word = (input[words[i] as number] as number) + add;
      const next = rol((a + mix(b, c, d) + word) | 0, shifts[i & 3] as number);
      a = d;
      d = c;
      c = b;
      b = next;
    }
  }
  state[0] = (state[0] as number) + a;
  state[1] = (state[1] as number) + b;
  state[2] = (state[2] as number) + c;
  state[3] = (state[3] as number) + d;
}

/** Hash of a name (one character per byte) with the filesystem's seed (16 bytes, not all zero). */
export function directoryHash(name: string, seed: Buffer): { hash: number; minor: number } {
  const state = new Int32Array(4);
  for (let i = 0; i < 4; i++) state[i] = seed.readInt32LE(i * 4);
  const input = new Int32Array(8);
  for (let start = 0; start < name.length; start += 32) {
    const left = name.length - start;
    const pad = ((left & 0xff) | (left << 8)) * 0x10001;
    const length = Math.min(left, 32);
    input.fill(pad);
    for (let i = 0; i < length; i += 4) {
      let value = pad | 0;
      for (let j = i; j < Math.min(i + 4, length); j++) value = (name.charCodeAt(start + j) + (value << 8)) | 0;
      input[i / 4] = value;
    }
    transform(state, input);
  }
  const hash = ((state[1] as number) & ~1) >>> 0;
  return { hash: hash === 0xfffffffe ? 0xfffffffc : hash, minor: (state[2] as number) >>> 0 };
}
