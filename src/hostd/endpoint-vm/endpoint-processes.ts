/** Starts an endpoint and its porter, joined by a channel of Node's. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { internal } from '../../common/errors.js';
import { HEARTBEAT_FD } from '../../common/heartbeat.js';
import { relayPath } from '../../common/paths.js';
import { identify, type ProcessIdentity } from '../../common/process-id.js';
import { programPath } from '../../common/programs.js';
import { PORTER_SETUP, type PorterSetup } from '../../porter/setup.js';
import type { OfEach } from './endpoint-beats.js';
import type { ProgramPlace } from './program-place.js';
import { asPorter, asUser } from './rights.js';
import type { VchUser } from './vch-users.js';

/** The porter has a few sockets to know about: an endpoint must not fill the machine's memory with what it sends. */
const PORTER_MEMORY = ['--max-old-space-size=64', '--max-semi-space-size=1'];
/** What containers ask must not fill it either. Answers that are kept are outside of this, and bounded. */
const NAMES_MEMORY = ['--max-old-space-size=64', '--max-semi-space-size=2'];
/** Descriptor of the channel in both. */
const CHANNEL = 3;
/** Descriptors of their heartbeat files. */
const BEAT = 4;
/** The porter's, of the file for the relay's. */
const WORKER_BEAT = 5;
/** And of the one for the server of names. */
const NAMES_BEAT = 6;

/** What an endpoint is given of hostd's environment: the rest may have secrets of root's. */
const TOLD =
  /^(?:PATH|TZ|LANG|LC_\w+|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|SSL_CERT_(?:FILE|DIR)|CAISSON_CACHE_DIR|CAISSON_LOG_LEVEL|CAISSON_TRACE\w*|(?:https?|no|all)_proxy)$/i;

/** What is to be started. */
export interface EndpointCommand {
  place: ProgramPlace;
  program: string;
  /** What else is mounted for the endpoint. */
  mounts: string[];
  user: VchUser;
  /** Path of the network namespace of its gateway. */
  netns: string;
  /** What its porter may do for it. */
  allowed: Omit<PorterSetup, 'netns' | 'relay' | 'names' | 'watch' | 'namesWatch'>;
  /** Descriptor of its log. */
  output: number;
  /** Descriptors of their heartbeat files. */
  beats: OfEach<number>;
  /** Paths of those of the porter's children, and when one of them counts as hanging. */
  watch: { files: Pick<OfEach<string>, 'worker' | 'names'>; hangMs: number };
  env: Record<string, string>;
}

/** The two running processes. Each leads a process group of its own. */
export interface EndpointProcesses {
  endpoint: ProcessIdentity;
  porter: ProcessIdentity;
}

/** @param ended called when the endpoint has ended @throws internal when one cannot be started */
export async function startEndpoint(command: EndpointCommand, ended: () => void): Promise<EndpointProcesses> {
  const { place, program, user, netns, allowed, output, beats, watch } = command;
  const { files, hangMs } = watch;
  const setup: PorterSetup = {
    netns,
    relay: [relayPath(), '--inner', netns, '--user', String(user.worker)],
    names: [
      ...['nsenter', `--net=${netns}`, '--'],
      ...place.prefix(),
      ...asUser(user.worker, true, ['net_bind_service']),
      ...[place.node, ...NAMES_MEMORY, place.program(programPath('appliance/gateway/names/main.js'))],
    ],
    watch: { descriptor: WORKER_BEAT, beatFile: files.worker, hangMs },
    namesWatch: { descriptor: NAMES_BEAT, beatFile: files.names, hangMs },
    ...allowed,
  };
  const told = Object.fromEntries(Object.entries(process.env).filter(([name]) => TOLD.test(name)));
  const joined = { NODE_CHANNEL_FD: String(CHANNEL), [HEARTBEAT_FD]: String(BEAT) };
  const porter = start(
    [...asPorter(), process.execPath, ...PORTER_MEMORY, programPath('src/porter/main.js')],
    [output, output, 'pipe', beats.porter, beats.worker, beats.names],
    { ...told, ...joined, [PORTER_SETUP]: JSON.stringify(setup) },
  );
  // The other end of the porter's channel. Nothing is read from it here: it is closed before the event loop turns.
  const end = porter.stdio[CHANNEL] as Socket;
  const { fd } = (end as unknown as { _handle: { fd: number } })._handle;
  const endpoint = start(
    [...place.prefix(command.mounts), ...asUser(user.endpoint), place.node, place.program(program)],
    [output, output, fd, beats.endpoint],
    { ...told, ...joined, ...command.env },
  );
  end.destroy();
  endpoint.once('exit', ended);
  const [first, second] = await Promise.all([begun(endpoint, 'endpoint'), begun(porter, 'porter')]);
  return { endpoint: first, porter: second };
}

function start(command: string[], given: ('pipe' | number)[], env: NodeJS.ProcessEnv): ChildProcess {
  const [program = '', ...args] = command;
  return spawn(program, args, { detached: true, cwd: '/', stdio: ['ignore', ...given], env });
}

async function begun(child: ChildProcess, what: string): Promise<ProcessIdentity> {
  const pid = await new Promise<number>((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid!));
    child.once('error', (error) => reject(internal(`cannot start the ${what}: ${error.message}`, error)));
  });
  child.unref();
  const identity = identify(pid);
  if (identity === null) throw internal(`the ${what} ended at once`);
  return identity;
}
