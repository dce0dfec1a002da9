/**
 * Where log lines go: standard output, each at once. A log that cannot be written, usually because the disk is full, stops nobody:
 * its lines are dropped, and the next line that can be written tells how many.
 */
import { writeSync } from 'node:fs';

export class LogOutput {
  private left = 0;
  /** Only the beginning of a line was written. */
  private cut = false;

  constructor(private readonly descriptor = 1) {}

  write(line: string): void {
    try {
      if (this.cut) this.whole('\n');
      if (this.left > 0) {
        const msg = `${this.left} lines of this log could not be written`;
        this.whole(`${JSON.stringify({ level: 'warn', time: new Date().toISOString(), pid: process.pid, msg })}\n`);
        this.left = 0;
      }
      this.whole(line);
    } catch {
      this.left++;
    }
  }

  private whole(line: string): void {
    const bytes = Buffer.from(line);
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.descriptor, bytes, done);
      this.cut = done < bytes.length;
    }
  }
}
