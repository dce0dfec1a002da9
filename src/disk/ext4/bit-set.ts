/** A set of numbers that are close together (inodes, blocks), one bit each; pages without members take no memory. */

/** Bits of a page. */
const PAGE = 32_768;

export class BitSet {
  private readonly pages = new Map<number, Uint8Array>();

  has(number: number): boolean {
    const page = this.pages.get(Math.floor(number / PAGE));
    return page !== undefined && (((page[(number % PAGE) >> 3] as number) >> (number & 7)) & 1) === 1;
  }

  add(number: number): void {
    const index = Math.floor(number / PAGE);
    let page = this.pages.get(index);
    if (page === undefined) {
      page = new Uint8Array(PAGE / 8);
      this.pages.set(index, page);
    }
    page[(number % PAGE) >> 3]! |= 1 << (number & 7);
  }

  delete(number: number): void {
    const page = this.pages.get(Math.floor(number / PAGE));
    if (page !== undefined) page[(number % PAGE) >> 3]! &= ~(1 << (number & 7));
  }
}
