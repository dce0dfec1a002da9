/**
 * `npm run timeline`: where the time of the latest container's run went, from the traces that the engine wrote to its logs
 * (`CAISSON_LOG_LEVEL=trace npm start`).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { invalid, notFound } from '../common/errors.js';
import { DEFAULT_STATE_DIR, instancePaths } from '../common/paths.js';
import { exitWith } from '../setup/prepare.js';
import { printTimeline, timelineOf, traceEvents } from './trace-timeline.js';

const program = new Command('npm run timeline --')
  .description(
    'Prints what endpoint, host and guest did from the creation of a container on, with times.\nThe engine notes it when it was started with CAISSON_LOG_LEVEL=trace.',
  )
  .option('--state-dir <directory>', 'the one given to npm start', DEFAULT_STATE_DIR)
  .option('--last <n>', '1: the container that was created last, 2: the one before it …', '1')
  .allowExcessArguments(false);
program.parse();
const options = program.opts<{ stateDir: string; last: string }>();

try {
  const paths = instancePaths(resolve(options.stateDir));
  if (!/^[1-9]\d*$/.test(options.last)) throw invalid(`--last '${options.last}' is not a number from 1 on`);
  const hostdLog = join(paths.stateDir, 'hostd.log');
  const endpointLogs = (existsSync(paths.datastoreDir) ? readdirSync(paths.datastoreDir) : [])
    .map((name) => join(paths.datastoreDir, name, 'endpoint.log'))
    .filter((path) => existsSync(path));
  const read = (path: string, who: string) => traceEvents(existsSync(path) ? readFileSync(path, 'utf8') : '', who);
  const events = [...read(hostdLog, 'hostd'), ...endpointLogs.flatMap((path) => read(path, 'endpoint'))];
  if (events.length === 0)
    throw notFound(
      `No traces in ${hostdLog}: start the engine with CAISSON_LOG_LEVEL=trace npm start (npm stop first when it runs), then run a container.`,
    );
  process.stdout.write(printTimeline(timelineOf(events, Number(options.last))));
} catch (error) {
  exitWith(error);
}
