/** `vic-machine fsck`, which `npm run fsck` is too: checks what the embedded host of this machine keeps, and mends what is safe. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { conflict, messageOf } from '../common/errors.js';
import { cacheDirectory, DEFAULT_STATE_DIR, instancePaths } from '../common/paths.js';
import { checkStore, hostRuns, type Repaired, repairStore, type StoreReport } from '../fsck/index.js';
import { FsckProgress } from './fsck-progress.js';
import { findingLines, summaryLines } from './fsck-report.js';

/** Exit statuses, of which several may be added up: fsck(8). */
export const FSCK_EXIT = { clean: 0, repaired: 1, left: 4, failed: 8 } as const;

interface FsckOptions {
  stateDir: string;
  quick?: boolean;
  repair?: boolean;
  yes?: boolean;
  moveAside?: boolean;
  json?: boolean;
  e2fsck: boolean;
}

/** Adds the command to a program. It sets the process's exit status. */
export function fsckCommand(program: Command, say: (line: string) => void): void {
  program
    .command('fsck')
    .description('check everything that the embedded host of this machine keeps: layers, disks, volumes and records')
    .option('--state-dir <directory>', "the embedded host's state directory", DEFAULT_STATE_DIR)
    .option('--quick', 'do not read contents: no filesystem is walked, no layer compared with its digest')
    .option('--repair', 'mend what is safe: orphans and what interrupted operations left; the host must be stopped')
    .option('-y, --yes', 'the same as --repair')
    .option('--move-aside', 'with --repair: put damaged data aside, below fsck-aside in the state directory')
    .option('--no-e2fsck', 'do not ask e2fsck, where it is installed, about filesystems too')
    .option('--json', 'print the findings as JSON')
    .action(async (options: FsckOptions) => {
      try {
        process.exitCode = await fsck(options, say);
      } catch (error) {
        process.stderr.write(`vic-machine fsck failed: ${messageOf(error)}\n`);
        process.exitCode = FSCK_EXIT.failed;
      }
    });
}

async function fsck(options: FsckOptions, say: (line: string) => void): Promise<number> {
  const stateDir = resolve(options.stateDir);
  const repair = options.repair === true || options.yes === true;
  if (options.moveAside === true && !repair) throw conflict('--move-aside goes with --repair');
  if (repair && hostRuns(instancePaths(stateDir)))
    throw conflict(
      `the embedded host runs, and repairs would be made behind its back: 'npm stop' stops it (containers go on running)`,
    );
  const progress = new FsckProgress();
  const report = await checkStore(stateDir, {
    quick: options.quick === true,
    e2fsck: options.e2fsck,
    cacheDir: cacheDirectory(),
    progress: (step) => progress.show(step),
  }).finally(() => progress.end());
  const results: Repaired[] = repair
    ? await repairStore(stateDir, report.findings, { moveAside: options.moveAside === true })
    : report.findings.map((finding) => ({ kind: 'left', finding }));
  if (options.json === true) say(JSON.stringify(asJson(report, results), null, 2));
  else {
    for (const result of results) for (const line of findingLines(result)) say(line);
    for (const line of summaryLines(report, results)) say(line);
  }
  const repaired = results.some(({ kind }) => kind === 'repaired');
  const left = results.some(({ kind }) => kind !== 'repaired');
  return (repaired ? FSCK_EXIT.repaired : 0) + (left ? FSCK_EXIT.left : 0);
}

function asJson(report: StoreReport, results: Repaired[]): object {
  return {
    version: 1,
    running: report.running,
    counts: report.counts,
    findings: results.map((result) => {
      const { repair: _, ...finding } = result.finding;
      const how = result.kind === 'repaired' ? result.how : result.kind === 'failed' ? result.why : null;
      return { ...finding, state: result.kind, ...(how === null ? {} : { result: how }) };
    }),
    unchecked: report.unchecked,
  };
}
