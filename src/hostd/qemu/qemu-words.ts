/** What QEMU prints, read for why it ended. */

/** The lines that are no warnings: a newer QEMU warns of options that it still has, and ends for another reason. */
export function complaints(printed: string): string[] {
  return printed
    .trim()
    .split('\n')
    .filter((line) => line !== '' && !/: warning: /.test(line));
}
