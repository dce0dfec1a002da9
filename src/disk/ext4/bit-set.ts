/** A set of small numbers (inodes, blocks), one bit each. */
export class BitSet {
  private readonly bits: Uint8Array;

  /** @param limit the largest number it can hold */
  constructor(limit: number) {
    this.bits = new Uint8Array((limit >> 3) + 1);
  }

  has(number: number): boolean {
    return (((this.bits[number >> 3] as number) >> (number & 7)) & 1) === 1;
  }

  add(number: number): void {
    this.bits[number >> 3]! |= 1 << (number & 7);
  }

  delete(number: number): void {
    this.bits[number >> 3]! &= ~(1 << (number & 7));
  }
}
