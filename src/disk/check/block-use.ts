/** Which blocks of a filesystem are in use: a bit each. */

export class BlockUse {
  private readonly bits: Uint8Array;

  constructor(private readonly blocks: number) {
    this.bits = new Uint8Array(Math.ceil(blocks / 8));
  }

  /** Takes a run of blocks. @returns the first that cannot be taken; those that can are taken all the same */
  take(start: number, count: number): { kind: 'beyond' | 'twice'; block: number } | null {
    if (start + count > this.blocks) return { kind: 'beyond', block: Math.max(start, this.blocks) };
    let twice: number | null = null;
    for (let block = start; block < start + count; block++) {
      // A whole byte at once, where nothing of it is taken.
      if ((block & 7) === 0 && block + 8 <= start + count && this.bits[block >>> 3] === 0) {
        this.bits[block >>> 3] = 0xff;
        block += 7;
        continue;
      }
      const bit = 1 << (block & 7);
      if ((this.bits[block >>> 3]! & bit) !== 0) twice ??= block;
      this.bits[block >>> 3]! |= bit;
    }
    return twice === null ? null : { kind: 'twice', block: twice };
  }

  has(block: number): boolean {
    return ((this.bits[block >>> 3]! >> (block & 7)) & 1) === 1;
  }

  /** The bits of `count` blocks from `start` on, a multiple of 8. */
  bytes(start: number, count: number): Uint8Array {
    return this.bits.subarray(start >>> 3, (start >>> 3) + Math.ceil(count / 8));
  }
}
