/** Keeps the beginning of a probe's output. */

const KEPT_BYTES = 4096;

/** Collects output up to a limit. Like Docker, puts an ellipsis for the rest. */
export class LimitedOutput {
  private readonly parts: Buffer[] = [];
  private size = 0;
  private cut = false;

  add(data: Buffer): void {
    const kept = data.subarray(0, KEPT_BYTES - this.size);
    this.cut ||= kept.length < data.length;
    this.size += kept.length;
    if (kept.length > 0) this.parts.push(Buffer.from(kept));
  }

  toString(): string {
    return `${Buffer.concat(this.parts).toString('utf8')}${this.cut ? '...' : ''}`;
  }
}
