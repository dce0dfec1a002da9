/** A set of small numbers from 0 on, a bit for each: which runs of grains of a disk have changed. */
export class UnitMap {
  private readonly bits: Buffer;

  /** @param count numbers below this may be in it */
  constructor(
    readonly count: number,
    bits?: Buffer,
  ) {
    this.bits = bits ?? Buffer.alloc(Math.ceil(count / 8));
  }

  /** From what {@link text} gave, which may come from a process that a hostile disk has taken over. Null if it is none. */
  static of(count: number, text: unknown): UnitMap | null {
    const bits = typeof text === 'string' ? Buffer.from(text, 'base64') : null;
    return bits?.length === Math.ceil(count / 8) ? new UnitMap(count, bits) : null;
  }

  add(unit: number): void {
    this.bits[unit >> 3]! |= 1 << (unit & 7);
  }

  has(unit: number): boolean {
    return ((this.bits[unit >> 3] ?? 0) & (1 << (unit & 7))) !== 0;
  }

  /** In ascending order. */
  *[Symbol.iterator](): Generator<number> {
    for (let unit = 0; unit < this.count; unit++) if (this.has(unit)) yield unit;
  }

  text(): string {
    return this.bits.toString('base64');
  }
}
