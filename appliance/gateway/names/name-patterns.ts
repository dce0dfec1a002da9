/** Names as a policy writes them: `example.com`, `*.example.com` (all below it), `*` (all). A look costs the same with any number of them. */
export class NamePatterns {
  private readonly all: ReadonlySet<string>;

  constructor(patterns: readonly string[]) {
    this.all = new Set(patterns.map((one) => one.toLowerCase()));
  }

  /** @param name in lower case */
  has(name: string): boolean {
    if (this.all.size === 0) return false;
    if (this.all.has('*') || this.all.has(name)) return true;
    for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1))
      if (this.all.has(`*${name.slice(dot)}`)) return true;
    return false;
  }
}
