/** Finds in QEMU's output why it ended. */
import { open } from 'node:fs/promises';

/** A guest may have made QEMU print a lot; the log is bounded to little more than this. */
const MOST_READ = 1024 * 1024;

/** The end of QEMU's log; '' if there is none. */
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

/**
 * System calls that QEMU was refused in its cage, as its launcher reports them (`launcher/calls.c`), e.g. `ptrace (101): Function not
 * implemented`.
 */
export function refusedCalls(printed: string): string[] {
  return [...printed.matchAll(/^caisson-cage: QEMU was refused the system call (.*)$/gm)].map(([, call = '']) => call);
}

const lines = (printed: string): string[] =>
  printed
    .trim()
    .split('\n')
    .filter((line) => line !== '' && !/: warning: /.test(line));

/**
 * The lines that are not warnings: a newer QEMU warns about options that it still has, and ends for another reason. Refused system calls
 * are reported only if there is nothing else, since most of them are refused on every machine.
 */
export function complaints(printed: string): string[] {
  const all = lines(printed);
  const others = all.filter((line) => refusedCalls(line).length === 0);
  return others.length > 0 ? others : all;
}

/** The lines that come from QEMU itself and not from its launcher. A QEMU that was killed leaves none. */
export function ownComplaints(printed: string): string[] {
  return lines(printed).filter((line) => !line.startsWith('caisson-cage: '));
}
