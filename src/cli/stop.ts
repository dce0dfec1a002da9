/** `npm stop`: stops the engine; with `--remove` removes containers, images, networks and files too. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { cacheDirectory, DEFAULT_STATE_DIR, instancePaths } from '../common/paths.js';
import { say } from '../setup/console.js';
import { exitWith, requireRoot } from '../setup/prepare.js';
import { removeEngine, stopEngine } from './stop-engine.js';

const program = new Command('npm stop --')
  .description(
    'Stops the embedded host and its endpoints. Containers go on running, and are found again by the next `npm start`.',
  )
  .option('--state-dir <directory>', 'the one given to npm start', DEFAULT_STATE_DIR)
  .option('--remove', 'remove all containers, images, networks and files of the embedded host', false)
  .allowExcessArguments(false);
program.parse();
const options = program.opts<{ stateDir: string; remove: boolean }>();

try {
  requireRoot();
  const paths = instancePaths(resolve(options.stateDir));
  if (options.remove) {
    await removeEngine(paths);
    say(`Removed. The cache with kernel and boot image stays: rm -r ${cacheDirectory()}`);
  } else {
    say(
      (await stopEngine(paths))
        ? 'Stopped. Containers go on running; `npm start` finds them again.'
        : 'Nothing was running.',
    );
  }
} catch (error) {
  exitWith(error);
}
