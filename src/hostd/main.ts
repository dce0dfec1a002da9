/** hostd as a program. */
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { invalid, messageOf } from '../common/errors.js';
import { startHeartbeat } from '../common/heartbeat.js';
import { closeInherited } from '../common/inherited-descriptors.js';
import { logger } from '../common/log.js';
import { DEFAULT_STATE_DIR, instancePaths, kernelVersionFile } from '../common/paths.js';
import { setPrecedence } from '../common/precedence.js';
import { standBy } from '../common/standby.js';
import { HANG_MS } from '../common/watchdog.js';
import { parseDatastores } from './datastore/datastore-places.js';
import { startHostd } from './hostd.js';
import { wantedAcceleration } from './qemu/acceleration.js';
import { createRuntime } from './runtime-factory.js';
import { beatFile } from './supervisor/supervisor.js';
import { parseUplink, parseUplinks } from './uplinks.js';
import { DEFAULT_WARM_POOL, warmPoolSize } from './warm-pool-size.js';

const log = logger('hostd');
/** hostd should be less likely to be killed than other processes, whose default is 0. */
const HOSTD_OOM_SCORE = -500;
const program = new Command('hostd')
  .description('The embedded vSphere host')
  .option('--state-dir <directory>', 'where VMs and the datastore are kept', DEFAULT_STATE_DIR)
  .option('--listen <host:port>', 'where vim25 is answered', '127.0.0.1:8989')
  .option('--accel <kvm|tcg|auto>', 'what runs VMs: hardware virtualization, emulation, or what works', 'auto')
  .option('--warm-pool <n>', 'VMs that wait, resumed, to be powered on; 0: none', String(DEFAULT_WARM_POOL))
  .option(
    '--hang-after <seconds>',
    'an endpoint of which nothing is heard for so long is started again',
    String(HANG_MS / 1000),
  )
  .option(
    '--uplink <port group=interface>',
    'join a port group with an interface of the machine (may be repeated)',
    (value: string, before: string[]) => [...before, value],
    [],
  )
  .option(
    '--datastore <name=directory>',
    'a datastore besides datastore1 (may be repeated)',
    (value: string, before: string[]) => [...before, value],
    [],
  )
  .option(
    '--standby',
    'keep a second process ready for each endpoint, and for hostd, which replaces it when it dies',
    false,
  )
  .parse();
const options = program.opts<{
  stateDir: string;
  listen: string;
  warmPool: string;
  accel: string;
  hangAfter: string;
  uplink: string[];
  datastore: string[];
  standby: boolean;
}>();

closeInherited();
// Directories that others pass through must get the modes given in the code, whatever the umask of the shell that started this.
process.umask(0o022);
// When memory runs out, VMs are killed first. Everything else started from here inherits this score.
await writeFile('/proc/self/oom_score_adj', String(HOSTD_OOM_SCORE)).catch(() => undefined);

const up = await standBy();

process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'));
process.on('uncaughtException', (error) => log.error({ err: error }, 'uncaught exception'));

try {
  const listen = /^(.*):(\d+)$/.exec(options.listen);
  if (listen === null) throw invalid(`--listen '${options.listen}' is not of the form host:port`);
  const own = instancePaths(resolve(options.stateDir));
  const paths = { ...own, moreDatastores: parseDatastores(options.datastore, [own.stateDir]) };
  const { mkdir } = await import('node:fs/promises');
  await mkdir(paths.stateDir, { recursive: true, mode: 0o711 });
  await mkdir(paths.runDir, { recursive: true, mode: 0o711 });
  const hangSeconds = Number(options.hangAfter);
  if (!(hangSeconds > 0)) throw invalid(`--hang-after takes a number of seconds, not '${options.hangAfter}'`);
  const uplinks = (parseUplinks(options.uplink) ?? []).map(parseUplink);
  startHeartbeat(beatFile(paths));
  const accel = wantedAcceleration(options.accel);
  const runtime = await createRuntime(
    paths,
    undefined,
    warmPoolSize(options.warmPool),
    accel,
    hangSeconds * 1000,
    uplinks,
    options.standby,
  );
  const hostd = await startHostd({
    paths,
    runtime,
    virtualSwitch: runtime.virtualSwitch,
    runs: {
      acceleration: `${runtime.acceleration.acceleration}: ${runtime.acceleration.why}`,
      emulator: runtime.capabilities.version,
      cage: runtime.cages.parts.present.join(' '),
      // Port groups are joined later.
      get lacks() {
        return [
          ...runtime.virtualSwitch.lacks,
          ...runtime.cages.parts.missing.map((what) => `QEMU runs without ${what}`),
        ];
      },
      kernel: await readFile(kernelVersionFile(), 'utf8').catch(() => ''),
    },
    listen: { host: listen[1]!, port: Number(listen[2]) },
  });
  up();
  setPrecedence(process.pid, false);
  const stop = (): void =>
    void hostd
      .close()
      .then(() => runtime.close())
      .then(() => process.exit(0));
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
} catch (error) {
  process.stderr.write(`hostd: ${messageOf(error)}\n`);
  process.exit(1);
}
