/**
 * Where log lines go: standard output, each at once. A log that cannot be written, for want of room above all, keeps nobody from his work:
 * its lines are left out, and their number is told by the next one that can be written.
 */
import { writeSync } from 'node:fs';

export class LogOutput {
  private left = 0;
  /** The beginning of a line was written, and not its end. */
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
