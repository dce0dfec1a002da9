/** A list of what is wrong with something, which damage cannot make arbitrarily long. */

/** More of them say nothing new. */
const MOST = 20;

export class Problems {
  private readonly first: string[] = [];
  private count = 0;

  add(problem: string): void {
    this.count++;
    if (this.first.length < MOST && !this.first.includes(problem)) this.first.push(problem);
  }

  get any(): boolean {
    return this.count > 0;
  }

  /** The first ones, in words, and how many more there are. */
  list(): string[] {
    const more = this.count - this.first.length;
    return more > 0 ? [...this.first, `and ${more} more`] : [...this.first];
  }
}
