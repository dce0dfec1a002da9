/** What set-up prints for the person waiting: one line per step, with the time it took. */

/** Runs `body` as a step named `title`; prints the title first, and afterwards how long it took. */
export async function step<T>(title: string, body: (progress: (detail: string) => void) => Promise<T>): Promise<T> {
  const started = Date.now();
  const live = process.stderr.isTTY === true;
  process.stderr.write(live ? `→ ${title} …` : `→ ${title} …\n`);
  const progress = (detail: string): void => {
    if (live) process.stderr.write(`\r\x1b[K→ ${title} … ${detail}`);
    else process.stderr.write(`   ${detail}\n`);
  };
  try {
    const result = await body(progress);
    const seconds = `${((Date.now() - started) / 1000).toFixed(1)} s`;
    process.stderr.write(live ? `\r\x1b[K→ ${title} … ${seconds}\n` : `   done in ${seconds}\n`);
    return result;
  } catch (error) {
    process.stderr.write(live ? ' failed\n' : '   failed\n');
    throw error;
  }
}

/** Prints a line. */
export function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}
