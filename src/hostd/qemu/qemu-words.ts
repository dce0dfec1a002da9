/** What QEMU prints, read for why it ended. */
import { open } from 'node:fs/promises';

/** A guest may have made it print much. */
const MOST_READ = 64 * 1024;

/** The end of what is in its log; '' for none. */
export async function printedIn(logFile: string): Promise<string> {
  try {
    const file = await open(logFile, 'r');
    try {
      const { size } = await file.stat();
      const end = Buffer.alloc(Math.min(size, MOST_READ));
      const { bytesRead } = await file.read(end, 0, end.length, size - end.length);
      return end.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}

/** The lines that are no warnings: a newer QEMU warns of options that it still has, and ends for another reason. */
export function complaints(printed: string): string[] {
  return printed
    .trim()
    .split('\n')
    .filter((line) => line !== '' && !/: warning: /.test(line));
}
